#!/bin/sh
# ./dev check: what a machine can say about the code without running it. Goes through all of it, then says what failed.
set -u
python=$1
failed=""

step() {
    name=$1
    shift
    printf 'check: %s\n' "$name" >&2
    "$@" || failed="$failed, $name"
}

# Never the settings of this machine: what is checked is the repository.
export ENV_FILE= DEBUG=True

production() {
    env DEBUG=False SECRET_KEY="$("$python" -c 'import secrets; print(secrets.token_urlsafe(60))')" \
        ALLOWED_HOSTS=console.example.com DOPPLER_RELAY_API_KEY=none DOPPLER_RELAY_ACCOUNT_ID=none \
        "$python" manage.py check --deploy --fail-level WARNING
}

step "format" "$python" -m ruff format --check --quiet .
step "lint" "$python" -m ruff check --quiet .
step "types" "$python" -m mypy
step "migrations" "$python" manage.py makemigrations --check --dry-run --verbosity 0
step "production settings" production
step "translations" "$python" tools/translations.py check
step "documents" "$python" tools/documents.py
[ -z "$failed" ] || { printf 'check: FAILED: %s\n' "${failed#, }" >&2; exit 1; }
printf 'check: all well\n' >&2
