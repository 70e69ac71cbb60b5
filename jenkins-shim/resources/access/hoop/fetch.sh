# Makes $HOOP_ACCESS_FOLDER (which must not be there yet) with a `hoop-access` in it: the command in HOOP_ACCESS_COMMAND, or,
# where that is empty, the gateway's file for this image, if its SHA-256 is among HOOP_ACCESS_PINS (SHA256:NAME …). What is
# not pinned never runs.
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
# The last one counts: what a job adds comes after what this version brings.
pin_of() {
  pin=''
  for one in $HOOP_ACCESS_PINS; do
    case $one in *":$1") pin=${one%%:*} ;; esac
  done
}
# Fetches the file of a name by its pin, which `pin_of` has found, into the folder.
fetch() {
  file=$HOOP_ACCESS_FOLDER/$1
  url=$HOOP_GATEWAY/client/$pin/$1
  missing="check \`gateway\` and the network; a gateway has the files of versions that it ran, and what \`hoop-access client build\` made there"
  # The file is public, and its digest alone decides. A pin of the CA's key is nothing that curl or wget can look for in a
  # chain, so with one they do not verify here; the executable does, before it sends anything.
  if command -v curl >/dev/null 2>&1; then
    case ${HOOP_CA:-} in
      '') set -- ;;
      sha256:*) set -- --insecure ;;
      *) set -- --cacert "$HOOP_CA" ;;
    esac
    curl -fsS --retry 5 --connect-timeout 20 --max-time 300 "$@" -o "$file" "$url" || fail "$url cannot be fetched" "$missing"
  elif command -v wget >/dev/null 2>&1; then
    case ${HOOP_CA:-} in
      '') set -- ;;
      *) set -- --no-check-certificate ;;
    esac
    wget -q "$@" -O "$file" "$url" || fail "$url cannot be fetched" "$missing"
  else
    fail 'there is neither curl nor wget here' "install curl, or $elsewhere"
  fi
  if command -v sha256sum >/dev/null 2>&1; then
    found=$(sha256sum <"$file")
  elif command -v shasum >/dev/null 2>&1; then
    found=$(shasum -a 256 <"$file")
  else
    found=$(openssl dgst -sha256 -r <"$file") || fail 'there is no sha256sum, shasum or openssl here' "install one, or $elsewhere"
  fi
  if [ "${found%% *}" != "$pin" ]; then
    rm -f "$file"
    fail "what $HOOP_GATEWAY gave for ${file##*/} is not the file that this version of the plugin pins: it was not run" 'find out who changed it; the digests of a gateway are at /client/'
  fi
}
if command -v node >/dev/null 2>&1 && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || (a == 22 && b >= 15) ? 0 : 1)'; then
  pin_of hoop-access.cjs
  [ -n "$pin" ] || fail 'this copy of the plugin pins no digest of hoop-access.cjs' "publish the plugin as \`npm run build\` writes it to dist/plugins, or $elsewhere"
  fetch hoop-access.cjs
  wrap "\"$(command -v node)\" \"\${0%/*}/hoop-access.cjs\""
  exit 0
fi
case "$(uname -s) $(uname -m)" in
  'Linux x86_64') kind=hoop-access-linux-x64 ;;
  'Linux aarch64') kind=hoop-access-linux-arm64 ;;
  *) fail "there is no Node 22.15 or newer here, and no executable with its own Node for $(uname -s) $(uname -m)" "install Node, or $elsewhere" ;;
esac
# musl's ldd says so, on standard error, and fails. Where there is none: whose loader is there?
case $(ldd --version 2>&1 || :) in
  *musl*) kind=$kind-musl ;;
  *GLIBC* | *'GNU libc'*) ;;
  *)
    set -- /lib/ld-musl-* /lib/ld-linux-* /lib64/ld-linux-*
    if [ -e "$1" ] && [ ! -e "$2" ] && [ ! -e "$3" ]; then kind=$kind-musl; fi
    ;;
esac
pin_of "$kind.gz"
[ -n "$pin" ] || fail "there is no Node 22.15 or newer here, and this copy of the plugin pins no digest of $kind.gz" "have it made by \`hoop-access client build\` on the gateway, and give what that prints as \`pins\`; or install Node 22.15 or newer (Alpine: apk add nodejs), or $elsewhere"
fetch "$kind.gz"
gzip -dc "$file" >"$program"
rm -f "$file"
chmod 700 "$program"
if said=$("$program" --version 2>&1); then exit 0; fi
# It lacks a library: those that are pinned with it stand beside it. What the job runs does not need them, or would have them.
libraries=''
for one in $HOOP_ACCESS_PINS; do
  name=${one#*:}
  case $name in
    "$kind"+*.gz)
      pin_of "$name"
      fetch "$name"
      mkdir -p "$HOOP_ACCESS_FOLDER/lib"
      name=${name#"$kind"+}
      gzip -dc "$file" >"$HOOP_ACCESS_FOLDER/lib/${name%.gz}"
      rm -f "$file"
      libraries=yes
      ;;
  esac
done
if [ -n "$libraries" ]; then
  mv "$program" "$HOOP_ACCESS_FOLDER/hoop-access-node"
  printf '#!/bin/sh\nLD_LIBRARY_PATH="${0%%/*}/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "${0%%/*}/hoop-access-node" "$@"\n' >"$program"
  chmod 700 "$program"
  if said=$("$program" --version 2>&1); then exit 0; fi
fi
# The loader names each symbol that it misses; why is in the first line.
fail "the executable with its own Node does not run here: ${said%%"
"*}" "see that the image brings the libraries that it names (Alpine: apk add libstdc++), or have it made with them (\`hoop-access client build --library\`); or install Node 22.15 or newer, or $elsewhere"
