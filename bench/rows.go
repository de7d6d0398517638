package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// length is how long a load runs.
	length = 2 * time.Second
	// many is the number of routes in the rows with many, and of connections in the row with idle ones.
	many = 10_000
)

// row is one line of the table: a load that every proxy gets.
type row struct {
	name, title string
	// hosts is the number of routes, one for each host.
	hosts int
	// connections is how many the proxy must be able to hold, those to the endpoint included.
	connections int
	// tls makes the proxy serve HTTPS instead of HTTP.
	tls bool
	// once is for rows whose figures hardly change from round to round.
	once bool
	load func(context.Context, *target) (outcome, error)
}

func rows() []row {
	table := []row{
		{name: "small", title: "answer of 1 KiB, HTTP/1.1, 64 kept connections", load: wrk("/small", 64)},
		{name: "large", title: "answer of 1 MiB, HTTP/1.1, 16 kept connections", load: wrk("/large", 16)},
		{name: "upload", title: "request of 1 MiB, HTTP/1.1, 16 kept connections", load: upload},
		{name: "newconn", title: "as small, and the endpoint closes each connection", load: wrk("/close", 64)},
		{name: "tls", title: "as small, TLS 1.3", tls: true, load: h2load("http/1.1", "--h1", "--clients=64")},
		{name: "handshake", title: "a TLS 1.3 connection for each request, none resumed, 32 at once", tls: true, load: handshakes},
		{name: "h2", title: "answer of 1 KiB, HTTP/2 with TLS 1.3, 8 connections of 8 streams", tls: true, load: h2load("h2", "--clients=8", "--max-concurrent-streams=8")},
		{name: "idle", title: "10,000 connections that idle for 2 s between a request and another", once: true, connections: many + 1000, load: idle},
		{name: "routes", title: "as small, random ones of 10,000 hosts", hosts: many, load: wrkHosts("/small", 64, many)},
		{name: "swap", title: "a route added every 100 ms, 2,000 requests a second on 32 kept connections", load: swaps},
		{name: "swap10k", title: "as swap, with 10,000 routes", hosts: many, load: swaps},
	}
	for i := range table {
		table[i].hosts = max(table[i].hosts, 1)
		table[i].connections = max(table[i].connections, 2048)
	}
	return table
}

// hostNames are the hosts of a row; every proxy has a route for each.
func hostNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("h%d.bench.example", i)
	}
	return names
}

// outcome is what the clients saw.
type outcome struct {
	requests int // answered with 200
	elapsed  time.Duration
	p50, p99 time.Duration
	// losses counts the requests that failed, by what happened to them.
	losses map[string]int
	// perConnection is the proxy's memory in bytes for each idle connection; only the row idle knows it.
	perConnection float64
	// swaps are the changes of the table that came into force, swapTime the median time until they did.
	swaps    int
	swapTime time.Duration
}

func (o outcome) errors() int {
	sum := 0
	for _, n := range o.losses {
		sum += n
	}
	return sum
}
