#!/bin/sh
# The servers that tests use, from package registries: Debian's packages, Go's proxy, Maven Central.
# Each is skipped where it is there already; what cannot be had is named, and the tests that need it are skipped.
# Nothing here waits without end, and nothing here fails: `make test` goes on with what there is.
set -u
cd "$(dirname "$0")/.."
folder=${METERLAKE_SERVICES:-$PWD/.services}
log="$folder/log"
mkdir -p "$folder/bin" && : > "$log" || { echo "services: $folder cannot be written; say where by METERLAKE_SERVICES"; exit 0; }
PATH="$folder/bin:$PATH:/usr/sbin:$HOME/go/bin"

VERSITYGW=v1.8.0
JAVA=17 # or newer: Kafka's brokers and Spark
GO=1.21 # or newer: the first that fetches the version which a program asks for

say() { echo "services: $*"; }
has() { command -v "$1" > /dev/null 2>&1; }
has_postgres() { has initdb || ls /usr/lib/postgresql/*/bin/initdb > /dev/null 2>&1; }

# at_least WANTED FOUND: whether a version is as new as wanted
at_least() { [ -n "$2" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
java_is_new() { has java && at_least "$JAVA" "$(java -version 2>&1 | sed -n 's/.* version "\([0-9.]*\).*/\1/p')"; }
go_is_new() { has go && at_least "$GO" "$(go env GOVERSION 2> /dev/null | sed 's/^go//')"; }

# tried SECONDS COMMAND…: run it quietly, and give it up when its time is over
tried() {
    seconds=$1
    shift
    timeout --kill-after=10 "$seconds" "$@" >> "$log" 2>&1
}

# 1. Debian's packages; a package may start its server, ours are started by the tests
packages=""
has redis-server || has valkey-server || packages="$packages redis-server"
has_postgres || packages="$packages postgresql"
has mariadbd || packages="$packages mariadb-server-core mariadb-client-core"
has mosquitto || packages="$packages mosquitto"
java_is_new || packages="$packages openjdk-$JAVA-jre-headless"
has mvn || packages="$packages maven"
go_is_new || has versitygw || packages="$packages golang-go"
if [ -n "$packages" ] && [ "$(id -u)" = 0 ] && has apt-get; then
    tried 120 apt-get update -q || say "the lists of packages could not be renewed; see $log"
    wanted=""
    for name in $packages; do
        found=$(apt-cache policy "$name" 2> /dev/null | sed -n 's/ *Candidate: \(.*:\)\{0,1\}//p')
        case "$name:$found" in
            *:"" | *:"(none)") say "no package $name here: please install what it is called on this system" ;;
            golang-go:*) at_least "$GO" "$found" && wanted="$wanted $name" ;; # an older one would only cost time
            *) wanted="$wanted $name" ;;
        esac
    done
    if [ -n "$wanted" ]; then
        say "installing$wanted"
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive tried 300 apt-get install -q -y --no-install-recommends $wanted ||
            say "some of$wanted could not be installed; see $log"
    fi
elif [ -n "$packages" ]; then
    say "please install, as root:$packages"
fi

# 2. a store that speaks S3
if ! has versitygw; then
    if go_is_new; then
        say "building versitygw $VERSITYGW (two minutes, once)"
        GOBIN="$folder/bin" tried 400 go install -ldflags="-s -w" "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW" ||
            say "versitygw could not be built; see $log"
    else
        say "please install go $GO or newer: the S3 store of the tests, versitygw, is built with it"
    fi
fi

# 3. Kafka's broker and Spark's connector to it, as jars; they are moved to their place when all have come
for name in kafka spark; do
    jars="$folder/$name-jars"
    cmp -s "tools/$name/pom.xml" "$jars/pom.xml" && continue
    if ! has mvn; then
        say "please install maven: it fetches the jars of $name"
        continue
    fi
    say "fetching the jars of $name"
    rm -rf "$jars.new"
    if tried 200 mvn -B -ntp -q -f "tools/$name/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars.new" -DincludeScope=runtime; then
        cp "tools/$name/pom.xml" "$jars.new/pom.xml" && rm -rf "$jars" && mv "$jars.new" "$jars"
    else
        rm -rf "$jars.new"
        say "the jars of $name could not be fetched; see $log"
    fi
done

java_is_new || say "please install java $JAVA or newer: Kafka and Spark run on it"
exit 0
