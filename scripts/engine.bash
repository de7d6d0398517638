# Starts and removes the demo's own Docker Engine; sourced by scripts/demo, which sets $state and the functions say and fail.
# shellcheck shell=bash disable=SC2154

engine_reachable() { docker info >/dev/null 2>&1; }

# engine_pid prints the process of the engine that this demo has started, if it still runs.
engine_pid() {
    local pid
    pid=$(cat "$state/docker.pid" 2>/dev/null) || return 1
    # The number may be another program's by now.
    tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q -- "--data-root $state/data" || return 1
    echo "$pid"
}

engine_up() {
    if engine_reachable; then
        if [ -d "$state" ]; then
            say "using the Docker Engine that the demo has started before"
        else
            say "using the Docker Engine that runs here"
        fi
        return
    fi
    [ -z "${DOCKER_HOST:-}" ] || fail "no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST" "start it, or unset DOCKER_HOST"
    [ "$(id -u)" = 0 ] || fail "no Docker Engine can be reached, and only root can start one" \
        "run \"sudo make demo\", or join the group docker if an engine runs here"
    say "starting a Docker Engine (log: $state/dockerd.log)"
    if [ ! -d "$state" ]; then
        mkdir -p "$state"
        # What the engine changes on the host, to be put back.
        cat /proc/sys/net/ipv4/ip_forward >"$state/ip_forward"
        iptables -S FORWARD | head -1 >"$state/forward" || true
        ! ip link show docker0 >/dev/null 2>&1 || touch "$state/had-docker0"
        ! iptables -S | grep -q '^-N DOCKER' || touch "$state/had-chains"
    fi
    rm -f "$state/docker.pid" "$state/exec/containerd/containerd.pid"
    setsid nohup dockerd --host unix:///var/run/docker.sock --data-root "$state/data" --exec-root "$state/exec" \
        --pidfile "$state/docker.pid" </dev/null >>"$state/dockerd.log" 2>&1 &
    local deadline=$((SECONDS + 60))
    until engine_reachable; do
        if [ "$SECONDS" -ge "$deadline" ] || ! kill -0 $! 2>/dev/null; then
            tail -5 "$state/dockerd.log" >&2
            fail "cannot start a Docker Engine; the last lines of its log are above" "the whole log is $state/dockerd.log"
        fi
        sleep 0.1
    done
}

# engine_down removes the engine if the demo has started it, with its images, its files and its firewall rules.
engine_down() {
    [ -d "$state" ] || return 0
    local pid others deadline=$((SECONDS + 30))
    others=$(docker ps --all --format '{{.Names}}' | tr '\n' ' ')
    if [ -n "$others" ]; then
        fail "other containers stand in the engine that the demo has started, so it stays: $others" \
            "remove them with docker rm, then run make demo-down again"
    fi
    docker network prune --force >/dev/null # their bridges would outlive the engine
    if pid=$(engine_pid); then
        say "stopping the Docker Engine that the demo has started"
        kill "$pid"
        while engine_pid >/dev/null; do
            [ "$SECONDS" -lt "$deadline" ] || fail "cannot stop the Docker Engine (process $pid) within 30 s" \
                "see $state/dockerd.log, then run make demo-down again"
            sleep 0.1
        done
    fi
    engine_restore_network
    awk -v dir="$state/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount
    rm -rf "$state" /var/run/docker.sock
    # Empty by now, unless somebody else uses them.
    rmdir /sys/fs/cgroup/docker /sys/fs/cgroup/*/docker /var/run/docker/plugins /var/run/docker \
        /run/containerd/s /run/containerd 2>/dev/null || true
}

# engine_restore_network puts back what the engine has changed: bridge, chains, forwarding.
engine_restore_network() {
    [ -e "$state/had-docker0" ] || ! ip link show docker0 >/dev/null 2>&1 || ip link delete docker0
    local table line
    if [ ! -e "$state/had-chains" ]; then
        for table in filter nat; do
            iptables -t "$table" -S | grep -E '^-A .*(DOCKER|docker0)' | sed 's/^-A/-D/' | while read -r line; do
                # shellcheck disable=SC2086 # a rule is several words
                iptables -t "$table" $line || true
            done
            iptables -t "$table" -S | sed -n 's/^-N \(DOCKER.*\)/\1/p' | while read -r line; do
                iptables -t "$table" -F "$line" || true
                iptables -t "$table" -X "$line" || true
            done
        done
    fi
    if [ -s "$state/forward" ]; then
        read -r _ _ line <"$state/forward"
        iptables -P FORWARD "$line"
    fi
    [ ! -s "$state/ip_forward" ] || cat "$state/ip_forward" >/proc/sys/net/ipv4/ip_forward
}
