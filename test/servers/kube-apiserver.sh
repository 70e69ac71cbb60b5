#!/usr/bin/env bash
# Builds kube-apiserver from Debian's source package into a cache folder, once, and prints its path.
# Needs root on Debian: it installs what the build needs. Tests say what they skip where it is not there.
set -euo pipefail

cache=${XDG_CACHE_HOME:-$HOME/.cache}/hoop-access/kube-apiserver
binary=$cache/kube-apiserver
if [ -x "$binary" ]; then
  echo "$binary"
  exit 0
fi
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "kube-apiserver cannot be built here: it takes root on Debian" >&2
  exit 1
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ -x "$binary" ]; then
  echo "$binary"
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
  # Source packages come from where the binary ones do, in a list and an index of their own.
  apt_source=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
  mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | awk '$2 !~ /-/ && /debian/ { print; exit }')
  [ -n "$mirror" ]
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror% *} ${mirror#* } main" >"$work/sources.list"
  mkdir -p "$work/lists/partial"
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends dpkg-dev golang-go jq rsync etcd-server make gcc libc6-dev
  apt-get "${apt_source[@]}" update -qq
  cd "$work"
  apt-get "${apt_source[@]}" source -qq kubernetes
  cd kubernetes-*/
  export PATH=/usr/lib/go/bin:/usr/bin:$PATH GOFLAGS=-mod=vendor GOTOOLCHAIN=local GOCACHE="$work/go-build" HOME="$work"
  make WHAT=cmd/kube-apiserver
  install -m 755 _output/local/bin/*/*/kube-apiserver "$binary.new" || install -m 755 _output/bin/kube-apiserver "$binary.new"
  mv "$binary.new" "$binary"
} >&2
echo "$binary"
