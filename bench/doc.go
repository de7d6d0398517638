// Package bench holds the side-by-side runs of Ruche against its peers: the same load, the same endpoint, one after the
// other in one run, so that ratios hold on a noisy machine.
//
//	make build && go test -tags peers -bench Peers -run '^$' ./bench
//
// It needs the packages nginx-light and haproxy; a peer that is not installed is skipped with its name.
package bench
