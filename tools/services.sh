#!/bin/sh
# The servers that tests use, from package registries: Debian's packages, Go's proxy, Maven Central.
# Each is skipped where it is there already; what cannot be had is named, and the tests that need it are skipped.
set -u
cd "$(dirname "$0")/.."
folder=${METERLAKE_SERVICES:-$PWD/.services}
mkdir -p "$folder/bin"
log="$folder/log"
: > "$log"

has() {
    PATH="$folder/bin:$PATH:/usr/sbin:/usr/local/sbin:$HOME/go/bin" command -v "$1" > /dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/"$1" > /dev/null 2>&1
}

say() { echo "services: $*"; }

# 1. Debian's packages; a package starts its server on its own, ours are started by the tests
packages=""
has redis-server || has valkey-server || packages="$packages redis-server"
has initdb || packages="$packages postgresql"
has mariadbd || packages="$packages mariadb-server-core mariadb-client-core"
has mosquitto || packages="$packages mosquitto"
has java || packages="$packages openjdk-17-jre-headless"
has mvn || packages="$packages maven"
has go || has versitygw || packages="$packages golang-go"
if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && has apt-get; then
        say "installing$packages"
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages; } >> "$log" 2>&1 ||
            say "some of$packages could not be installed; see $log"
    else
        say "please install:$packages"
    fi
fi

# 2. a store that speaks S3
if ! has versitygw; then
    if has go; then
        say "building versitygw (two minutes, once)"
        GOBIN="$folder/bin" go install -ldflags="-s -w" github.com/versity/versitygw/cmd/versitygw@v1.8.0 >> "$log" 2>&1 ||
            say "versitygw could not be built; see $log"
    else
        say "please install go (1.24 or newer): versitygw is built with it"
    fi
fi

# 3. Kafka's broker and Spark's connector to it, as jars
for name in kafka spark; do
    jars="$folder/$name-jars"
    cmp -s "tools/$name/pom.xml" "$jars/pom.xml" && continue
    if ! has mvn; then
        say "please install maven: it fetches the jars of $name"
        continue
    fi
    say "fetching the jars of $name"
    rm -rf "$jars"
    if mvn -B -ntp -q -f "tools/$name/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars" -DincludeScope=runtime >> "$log" 2>&1; then
        cp "tools/$name/pom.xml" "$jars/pom.xml"
    else
        say "the jars of $name could not be fetched; see $log"
    fi
done
exit 0
