#!/bin/sh
# Makes one layer on top of the base image: what a package brings, and the files that its official image has beside it.
# $1: the unpacked base. $2: a directory for this layer's work, removed at the end. $3: the archive to write. $4: which layer.
# $5: package lists and archives that all layers share. Runs as root in a mount namespace of its own.
#
# May not: start a service, write outside $2, $3 and $5.
set -eu
base=$1 work=$2 archive=$3 layer=$4 shared=$5

rm -rf "$work"
mkdir -p "$work/upper" "$work/scratch" "$work/root"
root=$work/root
mount -t overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/scratch" overlay "$root"
mount -t proc proc "$root/proc"
mkdir -p "$shared/lists" "$shared/archives" "$root/var/lib/apt/lists" "$root/var/cache/apt/archives"
mount --bind "$shared/lists" "$root/var/lib/apt/lists"
mount --bind "$shared/archives" "$root/var/cache/apt/archives"

# Locks are switched off because layers are made side by side from the same lists; each has a database of its own.
apt() {
    DEBIAN_FRONTEND=noninteractive LC_ALL=C chroot "$root" apt-get -q -y --no-install-recommends -o Debug::NoLocking=1 \
        -o APT::Sandbox::User=root -o Dpkg::Options::=--force-unsafe-io "$@" </dev/null
}
resolve() { # The base has no resolver of its own, and the layer must not get the machine's.
    : >"$work/resolv.conf"
    cat /etc/resolv.conf >"$work/resolv.conf" 2>/dev/null || true
    [ -e "$root/etc/resolv.conf" ] || : >"$root/etc/resolv.conf"
    mount --bind "$work/resolv.conf" "$root/etc/resolv.conf"
}
packages() {
    case $1 in
        nginx) echo nginx-light ;;
        redis) echo redis-server ;;
        mysql) echo mariadb-server-core mariadb-client-core ;;
        python) echo python3 ;;
        node) echo nodejs ;;
        httpd) echo apache2-bin ;;
    esac
}
install() {
    # Maintainer scripts start no service: 101 forbids it.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    # shellcheck disable=SC2046 # a list of package names
    apt install $(packages "$layer")
    rm "$root/usr/sbin/policy-rc.d"
}
script() { # path in the image, text on stdin
    mkdir -p "$root/$(dirname "$1")"
    cat >"$root/$1"
    chmod 755 "$root/$1"
}

case $layer in
    download)
        resolve
        apt update
        # shellcheck disable=SC2046 # a list of package names
        apt install --download-only $(for name in nginx redis mysql python node httpd; do packages $name; done)
        exit 0
        ;;
    nginx)
        install
        rm -rf "$root"/etc/nginx/sites-enabled/*
        mkdir -p "$root/usr/share/nginx/html"
        cat >"$root/etc/nginx/conf.d/default.conf" <<'END'
server {
    listen 80;
    server_name localhost;
    location / { root /usr/share/nginx/html; index index.html index.htm; }
}
END
        printf '<!DOCTYPE html>\n<html><head><title>Welcome to nginx!</title></head><body><h1>Welcome to nginx!</h1></body></html>\n' \
            >"$root/usr/share/nginx/html/index.html"
        ln -sf /dev/stdout "$root/var/log/nginx/access.log"
        ln -sf /dev/stderr "$root/var/log/nginx/error.log"
        script docker-entrypoint.sh <<'END'
#!/bin/sh
set -e
[ "$1" != nginx ] || echo "$0: Configuration complete; ready for start up"
exec "$@"
END
        ;;
    redis)
        install
        mkdir -p "$root/data"
        chroot "$root" chown redis:redis /data
        script usr/local/bin/docker-entrypoint.sh <<'END'
#!/bin/sh
set -e
# The first argument is a flag or a file: it is the server's.
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = redis-server ]; then
    set -- "$@" --protected-mode no
    if [ "$(id -u)" = 0 ]; then
        chown -R redis .
        exec setpriv --reuid redis --regid redis --clear-groups "$0" "$@"
    fi
fi
exec "$@"
END
        ;;
    mysql)
        install
        chroot "$root" sh -c 'id mysql >/dev/null 2>&1 || useradd --system --no-create-home --home-dir /nonexistent --shell /bin/false mysql'
        mkdir -p "$root/var/lib/mysql" "$root/run/mysqld" "$root/docker-entrypoint-initdb.d" "$root/etc/mysql/conf.d"
        chroot "$root" chown mysql:mysql /var/lib/mysql /run/mysqld
        ln -sf mariadbd "$root/usr/sbin/mysqld"
        ln -sf mariadb "$root/usr/bin/mysql"
        script usr/local/bin/docker-entrypoint.sh <<'END'
#!/bin/sh
set -e
if [ "${1#-}" != "$1" ]; then set -- mysqld "$@"; fi
[ "$1" = mysqld ] || exec "$@"
data=/var/lib/mysql
mkdir -p /run/mysqld
if [ ! -d "$data/mysql" ]; then
    if [ -z "$MYSQL_ROOT_PASSWORD" ] && [ -z "$MYSQL_ALLOW_EMPTY_PASSWORD" ]; then
        echo '[ERROR] [Entrypoint]: Database is uninitialized and password option is not specified' >&2
        exit 1
    fi
    echo '[Note] [Entrypoint]: Initializing database files' >&2
    mariadb-install-db --user=mysql --datadir="$data" --skip-test-db --auth-root-authentication-method=normal >/dev/null
    {
        echo 'FLUSH PRIVILEGES;'
        echo "ALTER USER root@localhost IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';"
        echo "CREATE USER root@'%' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';"
        echo "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
        [ -z "$MYSQL_DATABASE" ] || echo "CREATE DATABASE \`$MYSQL_DATABASE\`;"
    } >/tmp/first.sql
    mysqld --user=mysql --datadir="$data" --bootstrap --silent-startup </tmp/first.sql
    rm /tmp/first.sql
    echo '[Note] [Entrypoint]: MySQL init process done. Ready for start up.' >&2
fi
chown -R mysql:mysql "$data" /run/mysqld
exec "$@" --user=mysql --datadir="$data" --bind-address=0.0.0.0 --socket=/run/mysqld/mysqld.sock
END
        ;;
    python)
        install
        ln -sf python3 "$root/usr/bin/python"
        ;;
    node)
        install
        script usr/local/bin/docker-entrypoint.sh <<'END'
#!/bin/sh
set -e
# A flag, or a word that is no program: the interpreter's.
if [ "${1#-}" != "$1" ] || [ -z "$(command -v "$1")" ]; then set -- node "$@"; fi
exec "$@"
END
        ;;
    httpd)
        install
        home=$root/usr/local/apache2
        mkdir -p "$home/htdocs" "$home/conf" "$home/logs"
        echo '<html><body><h1>It works!</h1></body></html>' >"$home/htdocs/index.html"
        cat >"$home/conf/httpd.conf" <<'END'
ServerRoot /usr/local/apache2
ServerName localhost
Listen 80
User www-data
Group www-data
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /dev/null
AddType text/html .html
DirectoryIndex index.html
DocumentRoot /usr/local/apache2/htdocs
<Directory /usr/local/apache2/htdocs>
    Require all granted
</Directory>
PidFile /usr/local/apache2/logs/httpd.pid
ErrorLog /proc/self/fd/2
LogFormat "%h %l %u %t \"%r\" %>s %b" common
CustomLog /proc/self/fd/1 common
END
        script usr/local/bin/httpd-foreground <<'END'
#!/bin/sh
set -e
rm -f /usr/local/apache2/logs/httpd.pid
exec /usr/sbin/apache2 -f /usr/local/apache2/conf/httpd.conf -DFOREGROUND "$@"
END
        ;;
    *)
        echo "images.sh: no such layer: $layer" >&2
        exit 2
        ;;
esac

umount "$root/var/lib/apt/lists" "$root/var/cache/apt/archives" "$root/proc"
umount "$root/etc/resolv.conf" 2>/dev/null || true
umount "$root"
cd "$work/upper"
# What the layer hides in the base, in the words of layers. Nothing here replaces a directory of the base by another.
find . -type c | while read -r path; do
    rm "$path"
    : >"$(dirname "$path")/.wh.$(basename "$path")"
done
# One time for all files: the same packages give the same layer.
tar --sort=name --numeric-owner --exclude=./usr/share/doc/* --exclude=./usr/share/man/* --exclude=./usr/share/locale/* \
    --exclude=./var/cache/apt/* --exclude=./var/lib/apt/* --exclude=./var/log/dpkg.log --exclude=./var/log/alternatives.log --exclude=./var/log/apt/* \
    --exclude=./var/cache/debconf/* --exclude=./etc/resolv.conf --exclude=./run/* -cf "$archive" .
cd /
rm -rf "$work"
