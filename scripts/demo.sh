#!/bin/sh
# What `make run` does: a real model, the daemon, one question. Expects mlxctl and python on PATH
# and MLXD_HOME; run from the root of the repository.
set -eu

name=smollm2-135m
question="What is the capital of France?"

status() { # FIELD: a text of `mlxctl status --json`, empty for null
    mlxctl status --json |
        python -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]] or "")' "$1"
}

if [ ! -d "$MLXD_HOME/models/$name" ]; then
    echo "fetching the demo model (93 MB, once) ..."
    file=$(python scripts/demo_model.py)
    mlxctl import --name "$name" "$file"
fi

if ! said=$(mlxctl start 2>&1); then
    echo "$said" >&2
    case $said in
    *" is in use"*) echo "To take another port: MLXD_SERVER__PORT=8081 make run" >&2 ;;
    esac
    exit 1
fi
echo "$said"

if [ -z "$(status default_model)" ]; then
    mlxctl use "$name"
fi

echo
echo "> $question"
# Standard input would be read as a part of the prompt.
mlxctl run "$question" </dev/null

url=$(status url)
socket=$(status socket)
json='{"messages": [{"role": "user", "content": "Name three colors."}]}'
cat <<END

base URL  $url/v1
socket    $socket

Next, try:
  curl $url/v1/chat/completions -H 'content-type: application/json' -d '$json'
  curl --unix-socket '$socket' http://localhost/v1/chat/completions -H 'content-type: application/json' -d '$json'
  OpenAI(base_url="$url/v1", api_key="none")   in Python, with the openai client
  export MLXD_HOME='$(cd "$MLXD_HOME" && pwd)' PATH="$(dirname "$(command -v mlxctl)"):\$PATH"
  mlxctl status
  mlxctl run --system "Answer like a pirate." "How are you?"
  mlxctl logs -f
  make stop
END
