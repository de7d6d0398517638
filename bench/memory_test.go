package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker/fakeengine"
)

const (
	memoryServices = 500
	memoryTasks    = 4 // of each
	// memoryChurn is how many tasks are replaced: one each second of ten minutes.
	memoryChurn = 600
	// memoryRest is how long nothing happens before memory is read.
	memoryRest = 10 * time.Second
)

// BenchmarkMemory500 measures what "ruche control" and "ruche edge" take, as processes of their own: with an empty Swarm, with 500 services of four tasks each at rest, and after ten minutes' worth
// of rollouts. The Swarm is on a pretended Engine. Resident memory is VmRSS; heap is what of it was alive after the last garbage collection.
func BenchmarkMemory500(b *testing.B) {
	s := startMemorySwarm(b)
	s.report("empty")
	for i := range memoryServices {
		s.publish(i)
	}
	s.await(s.hosts...)
	s.report("full")
	began := time.Now()
	for i := 0; i < memoryChurn; i += 50 {
		s.rollOut(i, min(50, memoryChurn-i))
	}
	b.Logf("%d tasks were replaced in %v", memoryChurn, time.Since(began).Round(time.Millisecond))
	s.report("churned")
	b.ReportMetric(0, "ns/op")
}

type memorySwarm struct {
	b             *testing.B
	engine        *fakeengine.Engine
	node          string
	control, edge *process
	admin         string // the edge's address
	hosts         []string
	services      []string
	tasks         [][]string // by service
}

func startMemorySwarm(b *testing.B) *memorySwarm {
	program, err := filepath.Abs("../bin/ruche")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		b.Skipf("%v (make bench B=Memory500 builds it)", err)
	}
	b.Setenv("GODEBUG", "gctrace=1")
	s := &memorySwarm{b: b, engine: fakeengine.New(b)}
	s.engine.SetManager(true)
	s.engine.AddNetwork(fakeengine.Network{Name: "public", Driver: "overlay"})
	s.node = s.engine.AddNode("n1", "10.9.0.1")
	dir, free := b.TempDir(), &bench{port: 18000}
	mesh, controlAdmin := free.address(), free.address()
	s.admin = free.address()
	s.control = s.start(program, dir, "control", "--bootstrap", "--advertise-addr", "127.0.0.1", "--mesh-addr", mesh, "--admin-addr", controlAdmin,
		"--docker-host", s.engine.Host(), "--edge-networks", "public")
	s.ready(controlAdmin)
	token, err := exec.Command(program, "nodes", "token", "--admin-addr", controlAdmin).Output()
	if err == nil {
		err = os.WriteFile(dir+"/token", token, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	s.edge = s.start(program, dir, "edge", "--control", mesh, "--join-token-file", dir+"/token", "--admin-addr", s.admin,
		"--http-addr", free.address(), "--https-addr", free.address())
	s.ready(s.admin)
	return s
}

func (s *memorySwarm) start(program, dir, role string, flags ...string) *process {
	command := append([]string{program, role, "--node-name", role, "--data-dir", filepath.Join(dir, role)}, flags...)
	p, err := start(role, filepath.Join(dir, role+".log"), command)
	if err != nil {
		s.b.Fatal(err)
	}
	s.b.Cleanup(p.stop)
	return p
}

// publish makes a service with its tasks.
func (s *memorySwarm) publish(i int) {
	host := fmt.Sprintf("h%d.example", i)
	id := s.engine.CreateService(fakeengine.Service{
		Name: fmt.Sprintf("site%d", i), Env: []string{"VIRTUAL_HOST=" + host, "VIRTUAL_PORT=8080", "HTTPS_METHOD=nohttps"}, Networks: []string{"public"}, Replicas: memoryTasks,
	})
	var tasks []string
	for range memoryTasks {
		tasks = append(tasks, s.engine.AddTask(id, s.node, "running", "running"))
	}
	s.hosts, s.services, s.tasks = append(s.hosts, host), append(s.services, id), append(s.tasks, tasks)
}

// rollOut replaces a task of each of n services at once, the new one first, and waits until the edge has the new ones.
func (s *memorySwarm) rollOut(from, n int) {
	var hosts []string
	for k := range n {
		i := (from + k) % memoryServices
		s.engine.SetTask(s.tasks[i][0], "shutdown", "")
		s.tasks[i] = append(s.tasks[i], s.engine.AddTask(s.services[i], s.node, "running", "running"))
		s.engine.SetUpdating(s.services[i], true)
		hosts = append(hosts, s.hosts[i])
	}
	s.await(hosts...)
	for k := range n {
		i := (from + k) % memoryServices
		s.engine.RemoveTask(s.tasks[i][0])
		s.tasks[i] = s.tasks[i][1:]
		s.engine.SetUpdating(s.services[i], false)
	}
}

// await waits until the edge has all tasks of these hosts' services.
func (s *memorySwarm) await(hosts ...string) {
	s.b.Helper()
	for _, host := range hosts {
		s.until("the tasks of "+host, func() bool {
			var ex ruche.Explanation
			return s.get("http://"+s.admin+"/api/v1/explain?url="+url.QueryEscape("http://"+host+"/"), &ex) == http.StatusOK && ex.Route != nil && s.whole(host, ex.Route.Endpoints)
		})
	}
}

// whole reports whether all tasks of a host's service are among the endpoints, those that run as ready.
func (s *memorySwarm) whole(host string, endpoints []ruche.EndpointStatus) bool {
	tasks := s.tasks[slices.Index(s.hosts, host)]
	for _, task := range tasks[len(tasks)-memoryTasks:] {
		address := s.engine.TaskAddress(task, "public")
		if !slices.ContainsFunc(endpoints, func(e ruche.EndpointStatus) bool {
			return e.URL == "http://"+address+":8080" && e.State == ruche.EndpointReady
		}) {
			return false
		}
	}
	return true
}

func (s *memorySwarm) ready(admin string) {
	s.b.Helper()
	s.until("readiness of "+admin, func() bool { return s.get("http://"+admin+"/readyz", nil) == http.StatusOK })
}

func (s *memorySwarm) until(what string, condition func() bool) {
	s.b.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); {
		for _, p := range []*process{s.control, s.edge} {
			if p != nil && p.ended() != nil {
				s.b.Fatal(p.ended())
			}
		}
		if time.Now().After(deadline) {
			s.b.Fatalf("waited a minute for %s", what)
		}
		_ = pause(s.b.Context(), time.Millisecond)
	}
}

// get asks, and returns the status, or 0.
func (s *memorySwarm) get(u string, into any) int {
	resp, err := http.Get(u)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && into != nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return 0
	}
	return resp.StatusCode
}

// report tells what both take when nothing happens.
func (s *memorySwarm) report(when string) {
	if err := pause(s.b.Context(), memoryRest); err != nil {
		s.b.Fatal(err)
	}
	for _, p := range []*process{s.control, s.edge} {
		s.b.ReportMetric(float64(resident(p))/(1<<20), p.name+"-"+when+"-rss-MB")
		s.b.ReportMetric(alive(p), p.name+"-"+when+"-heap-MB")
	}
}

// resident is VmRSS of /proc/PID/status, proc_pid_status(5), in bytes.
func resident(p *process) int64 {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// alive is the live heap in MB after the last garbage collection, as GODEBUG=gctrace=1 tells: the third size of "4->5->3 MB".
func alive(p *process) float64 {
	log, _ := os.ReadFile(p.log)
	sizes := regexp.MustCompile(`(?m)^gc \d+ .* \d+->\d+->(\d+) MB`).FindAllSubmatch(log, -1)
	if len(sizes) == 0 {
		return 0
	}
	mb, _ := strconv.ParseFloat(string(sizes[len(sizes)-1][1]), 64)
	return mb
}
