#!/usr/bin/env bash
# Sends a long prompt to vLLM's server and prints how many of its tokens were cached, and how long it took.
#
#   ./ask.sh [URL]        default: http://localhost:8000
set -euo pipefail

url=${1:-http://localhost:8000}
model=$(curl -sf "$url/v1/models" | python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')

python3 - "$model" <<'PYTHON' |
import json, sys
document = "".join(f"{number} is followed by {number + 1}. " for number in range(80))
print(json.dumps({"model": sys.argv[1], "prompt": document + "What is followed by 42?", "max_tokens": 1}))
PYTHON
    curl -sf -w '\n%{time_total}\n' -H 'Content-Type: application/json' -d @- "$url/v1/completions" |
    python3 -c '
import json, sys
answer, seconds = sys.stdin.read().splitlines()
usage = json.loads(answer)["usage"]
prompt, cached = usage["prompt_tokens"], (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
print(f"{prompt} prompt tokens, {cached} cached, {float(seconds):.2f} s")'
