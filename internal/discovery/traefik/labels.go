package traefik

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// option is one label.
type option struct {
	key   string // the whole label as it was written
	path  string // what stands after the name, in lower case: "loadbalancer.server.port"
	value string
}

// element is a router, service or middleware: all labels that share its name.
type element struct {
	name    string // as it was written first
	options []option
}

// labels are the labels of one container, taken apart. Elements and options are sorted by name and path.
type labels struct {
	enable      *option
	routers     []*element
	services    []*element
	middlewares []*element
	// tcpRouters and tcpServices are those of TCP, udpRouters and udpServices those of UDP, streams the other labels of the two.
	tcpRouters  []*element
	tcpServices []*element
	udpRouters  []*element
	udpServices []*element
	streams     []option
	// other are labels below traefik. that belong to none of the above.
	other []option
}

// take sorts the labels by what they are about. Labels are compared without regard to case.
func take(all map[string]string) labels {
	var l labels
	keys := slices.SortedFunc(maps.Keys(all), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a), strings.ToLower(b)), cmp.Compare(a, b))
	})
	for _, key := range keys {
		lower := strings.ToLower(key)
		path, ours := strings.CutPrefix(lower, "traefik.")
		if !ours {
			continue
		}
		o := option{key: key, path: path, value: strings.TrimSpace(all[key])}
		parts := strings.SplitN(path, ".", 4)
		switch {
		case path == "enable":
			l.enable = &o
		case len(parts) == 4 && parts[2] != "" && l.list(parts[0], parts[1]) != nil:
			o.path = parts[3]
			// ToLower may change the length of what is not ASCII; then the name is shown in lower case.
			name := parts[2]
			if len(lower) == len(key) {
				begin := len("traefik.") + len(parts[0]) + 1 + len(parts[1]) + 1
				name = key[begin : begin+len(name)]
			}
			add(l.list(parts[0], parts[1]), name, o)
		case parts[0] == "tcp" || parts[0] == "udp":
			l.streams = append(l.streams, o)
		default:
			l.other = append(l.other, o)
		}
	}
	return l
}

// list returns the elements of one kind, nil when there is no such kind.
func (l *labels) list(protocol, kind string) *[]*element {
	switch protocol + "." + kind {
	case "http.routers":
		return &l.routers
	case "http.services":
		return &l.services
	case "http.middlewares":
		return &l.middlewares
	case "tcp.routers":
		return &l.tcpRouters
	case "tcp.services":
		return &l.tcpServices
	case "udp.routers":
		return &l.udpRouters
	case "udp.services":
		return &l.udpServices
	}
	return nil
}

func add(list *[]*element, name string, o option) {
	e := find(*list, name)
	if e == nil {
		e = &element{name: name}
		*list = append(*list, e)
	}
	// Of two labels that differ in case only, the first one counts.
	if _, twice := e.option(o.path); !twice {
		e.options = append(e.options, o)
	}
}

// find returns the element of this name without regard to case, or nil.
func find(list []*element, name string) *element {
	i := slices.IndexFunc(list, func(e *element) bool { return strings.EqualFold(e.name, name) })
	if i < 0 {
		return nil
	}
	return list[i]
}

func (e *element) option(path string) (option, bool) {
	i := slices.IndexFunc(e.options, func(o option) bool { return o.path == path })
	if i < 0 {
		return option{}, false
	}
	return e.options[i], true
}

// empty reports whether there is no label of Traefik at all.
func (l *labels) empty() bool {
	return l.enable == nil && len(l.routers) == 0 && len(l.services) == 0 && len(l.middlewares) == 0 &&
		!l.anyStreams() && len(l.other) == 0
}

// anyStreams reports whether there is a label about TCP or UDP.
func (l *labels) anyStreams() bool {
	return len(l.tcpRouters)+len(l.tcpServices)+len(l.udpRouters)+len(l.udpServices)+len(l.streams) > 0
}

func elementNames(list []*element) []string {
	names := make([]string, len(list))
	for i, e := range list {
		names[i] = e.name
	}
	return names
}

// words splits a list by commas and drops what is empty.
func words(list string) []string {
	var found []string
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word != "" {
			found = append(found, word)
		}
	}
	return found
}
