"""A batch over one long document, with vLLM and the cache. The second run does not compute the document again.

    cascade-node run &
    python vllm_offline.py MODEL
    python vllm_offline.py MODEL

Without a node it works too, and computes everything each time.
"""

from __future__ import annotations

import argparse
import time

CASCADE = {
    "kv_connector": "CascadeConnector",
    "kv_connector_module_path": "cascade_kv.vllm",
    "kv_role": "kv_both",
    "kv_load_failure_policy": "recompute",
}


def main() -> None:
    """Asks several questions about one document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a model's name, or a folder")
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--max-model-len", type=int, default=4096)
    arguments = parser.parse_args()

    # Here, so that --help needs no vLLM.
    from vllm import LLM, SamplingParams

    document = "".join(f"{number} is followed by {number + 1}. " for number in range(80))
    prompts = [f"{document}What is followed by {number}?" for number in range(arguments.questions)]

    llm = LLM(arguments.model, max_model_len=arguments.max_model_len, kv_transfer_config=CASCADE)
    began = time.monotonic()
    outputs = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=16))
    took_s = time.monotonic() - began
    for output in outputs:
        prompt, answer = output.prompt_token_ids, output.outputs[0].text
        print(f"{len(prompt)} prompt tokens, {output.num_cached_tokens} cached: {answer!r}")
    print(f"{len(outputs)} answers in {took_s:.2f} s")


if __name__ == "__main__":
    # vLLM starts processes of its own, which import this file.
    main()
