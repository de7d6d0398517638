package nginxproxy

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ruche-project/ruche"
	"github.com/ruche-project/ruche/internal/docker"
)

// defaultPort is nginx-proxy's last resort.
const defaultPort = 80

// readPort chooses the port: VIRTUAL_PORT, else the only exposed port, else 80.
func (r *reader) readPort(route *ruche.Route) bool {
	const key = "VIRTUAL_PORT"
	if value := r.value(key); value != "" {
		number, err := strconv.ParseUint(value, 10, 16)
		if err != nil || number == 0 {
			r.refuse(ruche.CodePortInvalid, key, "write one number from 1 to 65535",
				"port %s is not a number from 1 to 65535", quote(value))
			return false
		}
		route.Port, route.PortReason = uint16(number), key
		return true
	}
	exposed := r.c.ExposedPorts
	if len(exposed) == 1 {
		route.Port, route.PortReason = exposed[0].Number, "the only exposed port"
		return true
	}
	route.Port = defaultPort
	if len(exposed) == 0 {
		route.PortReason = "80, because no port is exposed and VIRTUAL_PORT is not set"
		return true
	}
	route.PortReason = "80, because several ports are exposed (" + portList(exposed) + ") and VIRTUAL_PORT is not set"
	if !slices.ContainsFunc(exposed, func(p docker.Port) bool { return p.Number == defaultPort }) {
		r.add(ruche.CodePortGuessed, ruche.SeverityWarning, key, "set VIRTUAL_PORT to the port that speaks HTTP",
			"several ports are exposed (%s), and 80 is not among them; 80 is used", portList(exposed))
	}
	return true
}

func portList(ports []docker.Port) string {
	const most = 8
	var names []string
	for _, p := range ports[:min(len(ports), most)] {
		names = append(names, p.String())
	}
	if len(ports) > most {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}
