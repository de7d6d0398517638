package docker_test

import (
	"strings"
	"testing"

	"github.com/ruche-project/ruche/internal/docker"
)

const (
	ownID   = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	otherID = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
)

var ownSamples = []struct {
	name, hostname, cgroup, mountinfo, want string
}{
	{"cgroup v1", "0123456789ab", "12:memory:/docker/" + ownID + "\n1:name=systemd:/docker/" + ownID + "\n", "", ownID},
	{"cgroup v1 of systemd", "web", "1:name=systemd:/system.slice/docker-" + ownID + ".scope\n", "", ownID},
	{"Kubernetes", "pod", "3:cpu:/kubepods/besteffort/pod12/" + ownID + "\n", "", ownID},
	{"cgroup v2 with its own name space", "0123456789ab", "0::/\n",
		"617 590 254:1 /var/lib/docker/containers/" + ownID + "/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw\n", ownID},
	{"data root on a file system of its own", "web", "0::/\n",
		"617 590 254:1 /docker/containers/" + ownID + "/resolv.conf /etc/resolv.conf rw - ext4 /dev/vda1 rw\n", ownID},
	{"Podman", "web", "0::/\n",
		"617 590 0:23 /containers/overlay-containers/" + ownID + "/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw\n", ownID},
	{"the host name decides between two", "0123456789ab", "0::/\n",
		"1 2 254:1 /var/lib/docker/containers/" + otherID + "/hosts /etc/hosts rw - ext4 x rw\n" +
			"1 2 254:1 /var/lib/docker/containers/" + ownID + "/hostname /etc/hostname rw - ext4 x rw\n", ownID},
	{"host", "server", "0::/user.slice/user-0.slice/session-1.scope\n", "24 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n", ""},
	{"host that runs containers", "server", "12:memory:/user.slice\n",
		"700 24 0:50 / /var/lib/docker/overlay2/" + otherID + "/merged rw - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A\n" +
			"701 24 0:51 / /var/lib/docker/containers/" + otherID + "/mounts/shm rw - tmpfs shm rw\n", ""},
	{"a service of systemd", "server", "0::/system.slice/ruche.service\n", "", ""},
	{"nothing to read", "", "", "", ""},
}

func TestParseOwnContainer(t *testing.T) {
	for _, tc := range ownSamples {
		if got := docker.ParseOwnContainer(tc.hostname, tc.cgroup, tc.mountinfo); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func FuzzOwnContainerID(f *testing.F) {
	for _, tc := range ownSamples {
		f.Add(tc.hostname, tc.cgroup, tc.mountinfo)
	}
	f.Fuzz(func(t *testing.T, hostname, cgroup, mountinfo string) {
		id := docker.ParseOwnContainer(hostname, cgroup, mountinfo)
		if id == "" {
			return
		}
		if len(id) != 64 || strings.Trim(id, "0123456789abcdef") != "" {
			t.Errorf("%q is not a container ID", id)
		}
		if !strings.Contains(cgroup+mountinfo, id) {
			t.Errorf("%q stands neither in cgroup nor in mountinfo", id)
		}
	})
}
