//! Configuration as a library: layers, origins, and what is refused where.

use std::path::PathBuf;

use cascade_node::config::{
    AutoBytes, Bytes, Config, LogFormat, Numa, Override, PROFILES, Problems, Sources,
};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cascade-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    fn file(&self, text: &str) -> PathBuf {
        let path = self.0.join("cascade.toml");
        std::fs::write(&path, text).expect("a file for the test");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn set(key: &str, value: &str) -> Override {
    Override { flag: "--set", key: key.to_owned(), value: value.to_owned() }
}

/// The only problem of these sources, as text.
fn refused(sources: &Sources) -> String {
    let Problems(problems) = sources.load().expect_err("something is wrong");
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].to_string()
}

#[test]
fn each_layer_wins_over_the_one_below_and_is_named() {
    let folder = Folder::new("layers");
    let file = folder.file("[segment]\nclients_max = 3\ngrow_step = '2MiB'\nreserve = '3MiB'\n");
    let shown = file.display().to_string();
    let mut sources = Sources::default();
    let mut expect = |change: &dyn Fn(&mut Sources), clients_max: u32, origin: &str| {
        change(&mut sources);
        let loaded = sources.load().expect("a sound configuration");
        assert_eq!(loaded.config.segment.clients_max, clients_max);
        let setting = loaded.settings.iter().find(|s| s.key == "segment.clients_max").expect("the key");
        assert_eq!(setting.origin, origin);
    };
    expect(&|_| {}, 64, "default");
    expect(&|s| s.profile = Some("perlmutter".into()), 128, "profile perlmutter");
    expect(&|s| s.file = Some(file.clone()), 3, &format!("file {shown}"));
    let variables = environment(&[("CASCADE_SEGMENT__CLIENTS_MAX", "4")]);
    expect(&|s| s.environment = variables.clone(), 4, "variable CASCADE_SEGMENT__CLIENTS_MAX");
    expect(&|s| s.overrides = vec![set("segment.clients_max", "5")], 5, "flag --set");

    // What the upper layers leave alone keeps its value and origin.
    let loaded = sources.load().expect("a sound configuration");
    let origin = |key: &str| loaded.settings.iter().find(|s| s.key == key).map(|s| s.origin.clone());
    assert_eq!(origin("segment.grow_step"), Some(format!("file {shown}")));
    assert_eq!(origin("segment.numa"), Some("profile perlmutter".to_owned()));
    assert_eq!(origin("log.filter"), Some("default".to_owned()));
}

#[test]
fn an_unknown_key_is_refused_in_every_layer_with_its_place_and_a_suggestion() {
    let folder = Folder::new("unknown");
    let file = folder.file("\n[segment]\ncapcity = '1GiB'\n");
    let from_file = refused(&Sources { file: Some(file.clone()), ..Sources::default() });
    let meant = "unknown key `segment.capcity`; did you mean `segment.capacity`?";
    assert_eq!(from_file, format!("{}:3: {meant}", file.display()));

    let variables = environment(&[("CASCADE_SEGMENT__CAPCITY", "1GiB")]);
    assert_eq!(
        refused(&Sources { environment: variables, ..Sources::default() }),
        "variable CASCADE_SEGMENT__CAPCITY: unknown variable; did you mean CASCADE_SEGMENT__CAPACITY?"
    );

    let overrides = vec![set("segment.capcity", "1GiB")];
    assert_eq!(refused(&Sources { overrides, ..Sources::default() }), format!("flag --set: {meant}"));
}

#[test]
fn an_unknown_section_is_refused_even_when_empty() {
    let folder = Folder::new("section");
    let message = refused(&Sources { file: Some(folder.file("[segmnt]\n")), ..Sources::default() });
    assert!(message.ends_with("cascade.toml:1: unknown key `segmnt`; did you mean `segment`?"), "{message}");
}

#[test]
fn all_problems_are_told_at_once() {
    let folder = Folder::new("all");
    let sources = Sources {
        file: Some(folder.file("zzz = 1\n[log]\nfilter_ = 'x'\n")),
        environment: environment(&[("CASCADE_QQQ", "1")]),
        profile: Some("perlmuter".into()),
        ..Sources::default()
    };
    let Problems(problems) = sources.load().expect_err("four things are wrong");
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(problems[0].to_string().contains("did you mean `perlmutter`?"));
}

#[test]
fn variables_that_are_no_configuration_are_passed_over() {
    let variables = environment(&[
        ("CASCADE_SOCKET", "/run/x"),
        ("CASCADE_PLUGINS", "/lib"),
        ("CASCADE_CONFIG", ""),
        ("CASCADE_PROFILE", ""),
        ("CASCADE_LOG", ""),
        ("HOME", "/home/x"),
    ]);
    let loaded = Sources { environment: variables, ..Sources::default() }.load().expect("nothing is set");
    assert_eq!(loaded.config, Config::default());
}

#[test]
fn the_store_lies_where_it_is_said_else_on_scratch_and_never_at_home() {
    let folder = |pairs: &[(&str, &str)], overrides: &[(&str, &str)]| {
        let overrides = overrides.iter().map(|(key, value)| set(key, value)).collect();
        let sources = Sources { environment: environment(pairs), overrides, ..Sources::default() };
        let loaded = sources.load().expect("sound");
        let setting = loaded.settings.iter().find(|s| s.key == "lustre.directory").expect("the key").clone();
        (loaded.config.lustre.folder().map(|folder| folder.display().to_string()), setting.origin)
    };
    let none = (None, "default".to_owned());
    assert_eq!(folder(&[("HOME", "/home/x")], &[]), none);
    let on = |path: &str, origin: &str| (Some(path.to_owned()), origin.to_owned());
    assert_eq!(folder(&[("PSCRATCH", "/ps")], &[]), on("/ps/cascade", "variable PSCRATCH"));
    let both = [("PSCRATCH", "/ps"), ("SCRATCH", "/s"), ("HOME", "/home/x")];
    assert_eq!(folder(&both, &[]), on("/s/cascade", "variable SCRATCH"));
    let at_home = [("SCRATCH", "/home/x/scratch"), ("HOME", "/home/x")];
    assert_eq!(folder(&at_home, &[]), none);
    let said = [("CASCADE_DIR", "/data"), ("SCRATCH", "/s")];
    assert_eq!(folder(&said, &[]), on("/data", "variable CASCADE_DIR"));
    assert_eq!(folder(&said, &[("lustre.directory", "/flag")]), on("/flag", "flag --set"));
    assert_eq!(folder(&said, &[("lustre.directory", "auto")]), on("/s/cascade", "variable SCRATCH"));
}

#[test]
fn text_becomes_a_value_of_the_keys_kind() {
    let variables = environment(&[
        ("CASCADE_INSTANCE", "42"),
        ("CASCADE_SEGMENT__CAPACITY", "1073741824"),
        ("CASCADE_SEGMENT__SHM_SHARE", "0.5"),
        ("CASCADE_PLUGINS__OPTIONAL", "hbm, lustre"),
        ("CASCADE_PLUGINS__SEARCH", "[\"/a\", \"/b\"]"),
        ("CASCADE_LOG", "debug"),
        ("CASCADE_LOG__FORMAT", "json"),
    ]);
    let config = Sources { environment: variables, ..Sources::default() }.load().expect("sound").config;
    assert_eq!(config.instance, "42");
    assert_eq!(config.segment.capacity, AutoBytes::Fixed(Bytes::gib(1)));
    assert_eq!(config.segment.shm_share, 0.5);
    assert_eq!(config.plugins.optional, ["hbm", "lustre"]);
    assert_eq!(config.plugins.search, [PathBuf::from("/a"), PathBuf::from("/b")]);
    assert_eq!((config.log.filter.as_str(), config.log.format), ("debug", LogFormat::Json));
}

#[test]
fn a_value_of_the_wrong_kind_names_its_line() {
    let folder = Folder::new("kind");
    let file = folder.file("[segment]\n\nclients_max = 'many'\n");
    let message = refused(&Sources { file: Some(file), ..Sources::default() });
    assert!(
        message.ends_with(
            "cascade.toml:3: `segment.clients_max`: expected a whole number, found string \"many\""
        ),
        "{message}"
    );
    let overrides = vec![set("policy.name", "lfu")];
    let message = refused(&Sources { overrides, ..Sources::default() });
    assert!(
        message
            .starts_with("flag --set: `policy.name`: `lfu` is none of lru, arc, s3fifo, wtinylfu, cascade"),
        "{message}"
    );
}

#[test]
fn values_out_of_range_are_refused() {
    let wrong = [
        ("instance", ""),
        ("instance", "a/b"),
        ("instance", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ("segment.capacity", "7MiB"),
        ("segment.shm_share", "0"),
        ("segment.shm_share", "nan"),
        ("segment.shm_share", "1"),
        ("segment.chunk", "3MiB"),
        ("segment.chunk", "2GiB"),
        ("segment.grow_step", "4KiB"),
        ("segment.clients_max", "0"),
        ("segment.clients_max", "1025"),
        ("segment.numa", "far"),
        ("clients.pin_budget_share", "1.01"),
        ("clients.grant_share", "0.6"),
        ("clients.grants_per_class_max", "0"),
        ("clients.grants_per_class_max", "32"),
        ("policy.watermark_low_ratio", "0.05"),
        ("policy.watermark_high_ratio", "0.6"),
        ("flow.mode", "write-never"),
        ("flow.clean_low_ratio", "0.5"),
        ("flow.clean_high_ratio", "1.1"),
        ("flow.admission", "some"),
        ("flow.loading_share", "0"),
        ("flow.read_on_blocks", "65537"),
        ("flow.hang_ms", "1"),
        ("flow.failures_max", "0"),
        ("flow.pause_ms", "0"),
        ("flow.drain_s", "100000"),
        ("flow.drain_before_end_s", "100000"),
        ("flow.drain_signal", "KILL"),
        ("lustre.directory", "here"),
        ("lustre.capacity", "256MiB"),
        ("lustre.inodes_max", "1"),
        ("lustre.container", "1KiB"),
        ("lustre.durability", "some"),
        ("lustre.engine", "aio"),
        ("lustre.queue_depth", "0"),
        ("lustre.read_only", "there"),
        ("lustre.refresh_ms", "1"),
        ("lustre.stripe_count", "2001"),
        ("lustre.stripe_size", "1KiB"),
        ("plugins.required", "../evil"),
        ("plugins.optional", "shm"),
        ("metrics.interval_ms", "10"),
        ("log.filter", "cascade=loud"),
    ];
    for (key, value) in wrong {
        let message = refused(&Sources { overrides: vec![set(key, value)], ..Sources::default() });
        assert!(message.starts_with(&format!("flag --set: `{key}`")), "{key}={value}: {message}");
    }
}

#[test]
fn a_named_file_must_be_there_and_the_default_one_need_not() {
    let folder = Folder::new("absent");
    let absent = folder.0.join("no.toml");
    let message = refused(&Sources { file: Some(absent), ..Sources::default() });
    assert!(message.starts_with("flag --config: cannot read "), "{message}");
    let variables = environment(&[("CASCADE_CONFIG", "/nowhere/no.toml")]);
    let message = refused(&Sources { environment: variables, ..Sources::default() });
    assert!(message.starts_with("variable CASCADE_CONFIG: cannot read "), "{message}");

    let here = Sources { directory: Some(folder.0.clone()), ..Sources::default() };
    assert_eq!(here.load().expect("no file is fine").config, Config::default());
    folder.file("instance = 'found'\n");
    assert_eq!(here.load().expect("a sound file").config.instance, "found");
}

#[test]
fn every_profile_is_sound_and_used_as_a_file_gives_the_same() {
    let folder = Folder::new("profiles");
    for profile in PROFILES {
        let named = Sources { profile: Some(profile.name.into()), ..Sources::default() };
        let file = Sources { file: Some(folder.file(profile.text)), ..Sources::default() };
        let named = named.load().expect("a sound profile").config;
        assert_eq!(named, file.load().expect("a sound file").config, "{}", profile.name);
        if profile.name == "laptop" {
            assert_eq!(named, Config::default());
        } else {
            assert_eq!(named.segment.numa, Numa::PerDomain);
        }
    }
}

#[test]
fn a_profile_sets_only_what_differs_from_the_defaults() {
    let default = Sources::default().load().expect("sound").settings;
    for profile in PROFILES.into_iter().filter(|profile| profile.name != "laptop") {
        let sources = Sources { profile: Some(profile.name.into()), ..Sources::default() };
        for (setting, default) in sources.load().expect("sound").settings.iter().zip(&default) {
            assert_eq!(setting.key, default.key);
            assert_eq!(setting.origin == "default", setting.value == default.value, "{}", setting.key);
        }
    }
}
