#!/bin/sh
# debian-packages.sh PACKAGE... [--optional PACKAGE...]: installs what is missing, and says so.
# A missing optional package costs a feature or a test, never the build.
set -u

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

optional=no needed="" wanted=""
for package in "$@"; do
    if [ "$package" = --optional ]; then
        optional=yes
    elif ! command -v dpkg-query >/dev/null || ! installed "$package"; then
        if [ $optional = no ]; then needed="$needed $package"; else wanted="$wanted $package"; fi
    fi
done
[ -n "$needed$wanted" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "-- not a Debian system: please see that you have the like of$needed$wanted"
    exit 0
elif [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null; then
    as_root=sudo
else
    echo "-- missing Debian packages:$needed$wanted"
    echo "   neither root nor sudo: ask an administrator to run: apt-get install$needed$wanted"
    [ -z "$needed" ]
    exit
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
        apt-get -qq -o Dpkg::Use-Pty=0 "$@" >/dev/null
}
apt update || echo "-- apt-get update failed, going on with the list at hand"
if [ -n "$needed" ]; then
    echo "-- installing Debian packages:$needed"
    # shellcheck disable=SC2086
    apt install --no-install-recommends $needed || {
        echo "-- could not install:$needed"
        exit 1
    }
fi
for package in $wanted; do
    echo "-- installing Debian package: $package (optional)"
    apt install --no-install-recommends "$package" || echo "-- going on without $package"
done
