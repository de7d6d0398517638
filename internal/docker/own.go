package docker

import (
	"os"
	"regexp"
	"strings"
)

// OwnContainer returns the ID of the container this process runs in (64 hex digits), or "" when it runs on the host or
// cannot tell.
func OwnContainer() string {
	hostname, _ := os.Hostname()
	cgroup, _ := os.ReadFile("/proc/self/cgroup")
	mountinfo, _ := os.ReadFile("/proc/self/mountinfo")
	return ParseOwnContainer(hostname, string(cgroup), string(mountinfo))
}

var (
	idPattern = regexp.MustCompile(`[0-9a-f]{64}`)
	// The source of the files that the Engine mounts into each container, as the fourth field of mountinfo has it:
	// /var/lib/docker/containers/<id>/hostname, or Podman's .../<id>/userdata/hostname.
	mountSource = regexp.MustCompile(`/([0-9a-f]{64})/(?:userdata/)?(?:hostname|hosts|resolv\.conf)$`)
	// The path of a container's control group: /docker/<id>, /system.slice/docker-<id>.scope, /kubepods/pod.../<id>.
	cgroupID = regexp.MustCompile(`[/-]([0-9a-f]{64})(?:\.scope)?(?:/|$)`)
)

// ParseOwnContainer finds the container ID in a host name and the contents of /proc/self/cgroup and
// /proc/self/mountinfo. On a host that runs an Engine mountinfo is full of IDs of containers and layers that are not ours,
// so an ID counts only where it names this process's own place.
func ParseOwnContainer(hostname, cgroup, mountinfo string) string {
	fromMounts := mountedFiles(mountinfo)
	var fromCgroup []string
	for line := range strings.Lines(cgroup) {
		if m := cgroupID.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			fromCgroup = append(fromCgroup, m[1])
		}
	}
	candidates := append(fromMounts, fromCgroup...)
	if len(hostname) == 12 {
		for _, id := range append(candidates, idPattern.FindAllString(mountinfo, -1)...) {
			if strings.HasPrefix(id, hostname) {
				return id
			}
		}
	}
	if len(candidates) > 0 {
		return candidates[0]
	}
	return ""
}

// mountedFiles returns the IDs in the sources of /etc/hostname, /etc/hosts and /etc/resolv.conf; see proc(5) for the fields.
func mountedFiles(mountinfo string) []string {
	var ids []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		switch fields[4] {
		case "/etc/hostname", "/etc/hosts", "/etc/resolv.conf":
			if m := mountSource.FindStringSubmatch(fields[3]); m != nil {
				ids = append(ids, m[1])
			}
		}
	}
	return ids
}
