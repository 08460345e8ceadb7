#!/bin/sh
# Makes the servers available that the tests of the stores need, `ip`, which cuts their network, Chromium, Firefox and
# WebKitGTK, in which tests log in and out, and the proxies that ask before they let a request pass. Idempotent, and
# quick when all are there.
# Where packages cannot be installed it says by name what is missing, and goes on: those tests say so, too.
set -u
export PATH="$PATH:/usr/sbin:/usr/local/sbin:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -Vr | tr '\n' ':')"

missing() {
    for pair in redis-server=redis-server redis-sentinel=redis-sentinel postgres=postgresql initdb=postgresql \
        pg_basebackup=postgresql mariadbd=mariadb-server mariadb-install-db=mariadb-server ip=iproute2 \
        chromium=chromium chromium-headless-shell=chromium-headless-shell firefox-esr=firefox-esr \
        WebKitWebDriver=webkit2gtk-driver Xvfb=xvfb \
        nginx=nginx-light caddy=caddy haproxy=haproxy; do
        command -v "${pair%=*}" >/dev/null || echo "${pair#*=}"
    done | sort -u | tr '\n' ' '
}

packages=$(missing)
[ -z "$packages" ] && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then as_root="sudo -n"; fi
if command -v apt-get >/dev/null && { [ -z "$as_root" ] || sudo -n true 2>/dev/null; }; then
    echo "installing $packages"
    # Debian's packages start a system service each; the tests start their own servers and want none of those.
    # An administrator's own policy-rc.d is left as it is.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ] && printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null; then
        trap '$as_root rm -f $policy' EXIT INT TERM
        $as_root chmod +x $policy
    fi
    said=$(mktemp)
    if ! { $as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -qq --no-install-recommends $packages; } >"$said" 2>&1; then
        tail -5 "$said"
    fi
    rm -f "$said"
    PATH="$PATH:$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -Vr | tr '\n' ':')"
    packages=$(missing)
fi
if [ -n "$packages" ]; then
    echo "NOT INSTALLED, so their tests cannot run: $packages(on Debian: apt-get install $packages)"
fi
exit 0
