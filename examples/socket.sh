#!/usr/bin/env bash
# Use mlxd from a shell script, over its Unix socket: `socket.sh QUESTION`, or a question on standard input.
#
# Only the owner can open the socket, so it needs no API key. The script needs curl and jq.
set -euo pipefail

fail() {
    echo "socket.sh: $1" >&2
    exit 1
}

for tool in curl jq; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done
[ -n "${MLXD_SOCKET:-}" ] || command -v mlxctl >/dev/null ||
    fail "mlxctl is not installed (or set MLXD_SOCKET)"
socket=${MLXD_SOCKET:-$(mlxctl status --json 2>/dev/null | jq --raw-output .socket)} || true
[ -S "$socket" ] || fail "mlxd is not running (try: mlxctl start)"

# post PATH < body: prints the reply, or fails with its error message.
post() {
    local reply
    reply=$(curl --silent --show-error --unix-socket "$socket" "http://localhost$1" \
        --header 'Content-Type: application/json' --data-binary @-) || fail "mlxd does not answer"
    if jq --exit-status 'has("error")' <<<"$reply" >/dev/null; then
        fail "$(jq --raw-output .error.message <<<"$reply")"
    fi
    printf '%s\n' "$reply"
}

question=${1:-$(cat)}

# jq writes the body, so that nothing in the question needs escaping.
jq --null-input --arg question "$question" \
    '{messages: [{role: "user", content: $question}], max_tokens: 60}' |
    post /v1/chat/completions |
    jq --raw-output '.choices[0].message.content'

# With guided_choice the answer is one of two words, which a script can test.
jq --null-input --arg question "Is this a question? $question" \
    '{messages: [{role: "user", content: $question}], guided_choice: ["yes", "no"]}' |
    post /v1/chat/completions |
    jq --raw-output '"a question: " + .choices[0].message.content'
