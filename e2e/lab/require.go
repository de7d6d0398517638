package lab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Check reports what the machine lacks for a lab, with the Debian package that has it.
func Check() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("cannot run a lab as user %d: namespaces and Docker Engines need root", os.Geteuid())
	}
	tools := []struct{ command, pkg string }{
		{"dockerd", "docker.io"}, {"docker", "docker.io"}, {"containerd", "containerd"}, {"runc", "runc"},
		{"docker-compose", "docker-compose"}, {"iptables", "iptables"}, {"ip", "iproute2"},
		{"nsenter", "util-linux"}, {"unshare", "util-linux"}, {"mount", "mount"},
		{"haproxy", "haproxy"},
	}
	var missing []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.command); err != nil {
			missing = append(missing, fmt.Sprintf("%s (apt-get install %s)", t.command, t.pkg))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("cannot run a lab without %s; scripts/setup installs them all", strings.Join(missing, ", "))
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return nil
	}
	if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
		return fmt.Errorf("cannot run a lab without cgroups: nothing is mounted at /sys/fs/cgroup; scripts/setup mounts it")
	}
	return nil
}
