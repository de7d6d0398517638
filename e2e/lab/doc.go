// Package lab runs real Docker Engines for the end-to-end scenarios, each in network, mount and host name namespaces of
// its own, and the built ruche next to them.
//
// A lab is one namespace that holds a bridge, and one namespace per node joined to it. Nothing of it is visible in the
// host's network: labs do not collide with one another, with an Engine on the host, or with the host's firewall.
// Clients dial from inside the lab's namespace.
//
// Whatever a lab creates is first written to its ledger (/var/tmp/ruche-lab/RUN/ledger.jsonl), so that Clean can
// take away what a killed run left. It needs root.
package lab
