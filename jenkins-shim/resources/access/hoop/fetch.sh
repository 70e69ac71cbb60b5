# Makes $HOOP_ACCESS_FOLDER (which must not be there yet) with a `hoop-access` in it: the command in HOOP_ACCESS_COMMAND, or,
# where that is empty, the gateway's file for jobs, if its SHA-256 is among HOOP_ACCESS_PINS. What is not pinned never runs.
set -eu
umask 077
fail() {
  printf 'hoop-access: %s\n  next: %s\n' "$1" "$2" >&2
  exit 1
}
mkdir "$HOOP_ACCESS_FOLDER" || fail "cannot make $HOOP_ACCESS_FOLDER" 'see that it is not there yet, and that its parent can be written to'
program=$HOOP_ACCESS_FOLDER/hoop-access
wrap() {
  printf '#!/bin/sh\nexec %s "$@"\n' "$1" >"$program"
  chmod 700 "$program"
}
if [ -n "${HOOP_ACCESS_COMMAND:-}" ]; then
  wrap "$HOOP_ACCESS_COMMAND"
  exit 0
fi
elsewhere='name an executable that the job has (`executable`)'
if command -v node >/dev/null 2>&1 && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 15) ? 0 : 1)'; then
  name=hoop-access.cjs
else
  case "$(uname -s) $(uname -m)" in
    'Linux x86_64') name=hoop-access-linux-x64.gz ;;
    'Linux aarch64') name=hoop-access-linux-arm64.gz ;;
    *) fail "there is no Node 22.15 or newer here, and no executable with its own Node for $(uname -s) $(uname -m)" "install Node, or $elsewhere" ;;
  esac
fi
pin=''
for one in $HOOP_ACCESS_PINS; do
  case $one in *":$name") pin=${one%%:*} ;; esac
done
[ -n "$pin" ] || fail "this copy of the plugin pins no digest of $name" "publish the plugin as \`npm run build\` writes it to dist/plugins, install Node 22.15 or newer, or $elsewhere"
file=$HOOP_ACCESS_FOLDER/$name
url=$HOOP_GATEWAY/client/$pin/$name
# The file is public, and its digest alone decides. A pin of the CA's key is nothing that curl or wget can look for in a
# chain, so with one they do not verify here; the executable does, before it sends anything.
if command -v curl >/dev/null 2>&1; then
  case ${HOOP_CA:-} in
    '') set -- ;;
    sha256:*) set -- --insecure ;;
    *) set -- --cacert "$HOOP_CA" ;;
  esac
  curl -fsS --retry 5 --connect-timeout 20 --max-time 300 "$@" -o "$file" "$url" || set -- failed
elif command -v wget >/dev/null 2>&1; then
  case ${HOOP_CA:-} in
    '') set -- ;;
    *) set -- --no-check-certificate ;;
  esac
  wget -q "$@" -O "$file" "$url" || set -- failed
else
  fail 'there is neither curl nor wget here' "install curl, or $elsewhere"
fi
[ "${1:-}" != failed ] || fail "$url cannot be fetched" 'check `gateway` and the network; a gateway of another version has this file only if it once ran that version'
if command -v sha256sum >/dev/null 2>&1; then
  found=$(sha256sum <"$file")
elif command -v shasum >/dev/null 2>&1; then
  found=$(shasum -a 256 <"$file")
else
  found=$(openssl dgst -sha256 -r <"$file") || fail 'there is no sha256sum, shasum or openssl here' "install one, or $elsewhere"
fi
if [ "${found%% *}" != "$pin" ]; then
  rm -f "$file"
  fail "what $HOOP_GATEWAY gave for $name is not the file that this version of the plugin pins: it was not run" 'find out who changed it; the digests of a gateway are at /client/'
fi
if [ "$name" = hoop-access.cjs ]; then
  wrap "\"$(command -v node)\" \"\${0%/*}/$name\""
else
  gzip -dc "$file" >"$program"
  rm -f "$file"
  chmod 700 "$program"
  "$program" --version >/dev/null 2>&1 || fail 'the executable with its own Node does not run here: it needs glibc' "install Node 22.15 or newer (Alpine: apk add nodejs), or $elsewhere"
fi
