//! `cascade-node`: see `cascade-node --help`.

fn main() -> std::process::ExitCode {
    cascade_node::cli::main()
}
