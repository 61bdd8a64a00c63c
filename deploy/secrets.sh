#!/bin/sh
# Writes the file of settings that compose.yaml asks for, with passwords made here; a file that is there is left alone.
set -eu
umask 077
file=${1:-$(dirname "$0")/.env}
if [ -e "$file" ]; then
    echo "$file is there already: passwords are made once, then servers have them" >&2
    exit 1
fi
secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
cat > "$file.new" << END
KAFKA_CLUSTER_ID=$(secret | cut -c 1-21)A
KAFKA_PASSWORD=$(secret)
S3_ACCESS_KEY=meterlake$(secret | cut -c 1-8)
S3_SECRET_KEY=$(secret)
REDIS_PASSWORD=$(secret)
POSTGRES_PASSWORD=$(secret)
SPARK_SECRET=$(secret)
END
mv "$file.new" "$file"
echo "wrote $file; example.env lists what else can be set"
