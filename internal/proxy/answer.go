package proxy

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/ruche-project/ruche/internal/h1"
)

// statusClientGone is nginx's code for a client that did not wait. It is logged and counted, never sent.
const statusClientGone = 499

// answer is one that Ruche gives itself. The zero value is none.
type answer struct {
	status   int
	message  string
	location string
	// content is given as it is, without a message.
	content string
	// retry tells the client to come back.
	retry bool
	// close ends the connection: the rest of the request is not read.
	close bool
}

func refuse(status int, message string) answer { return answer{status: status, message: message} }

// blocked is the answer where serving would open what somebody closed.
func blocked() answer {
	return refuse(http.StatusServiceUnavailable, "this site asks for an access restriction that is not supported, so it is not served")
}

func (a answer) closing() answer {
	a.close = true
	return a
}

// answerFor says to the client why forwarding failed, without telling it addresses.
func answerFor(err error) answer {
	switch {
	case errors.Is(err, errClientGone):
		return answer{status: statusClientGone}
	case errors.Is(err, errNoEndpoint):
		return answer{status: http.StatusServiceUnavailable, message: "nothing that serves this site is running at the moment", retry: true}
	case errors.Is(err, errNoDescriptor):
		return answer{status: http.StatusServiceUnavailable, message: "this server has too many connections at the moment", retry: true}
	case errors.Is(err, errStopping):
		return answer{status: http.StatusServiceUnavailable, message: "this server is stopping", retry: true}
	case errors.Is(err, errBodyTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "the body of the request is larger than this server allows").closing()
	case errors.Is(err, errLengthRequired):
		return refuse(http.StatusLengthRequired, "the site behind this server has to be told the length of the request's body, which is too large to find it out here").closing()
	case errors.Is(err, errNoWebSocket):
		return refuse(http.StatusNotImplemented, "the site behind this server is spoken to by HTTP/2, by which WebSockets are not carried")
	case errors.Is(err, errHeadTooLarge):
		return refuse(http.StatusRequestHeaderFieldsTooLarge, "the headers of the request are larger than the site behind this server takes")
	case errors.Is(err, errBodyTooSlow):
		return refuse(http.StatusRequestTimeout, "the body of the request did not come in time").closing()
	case errors.Is(err, errBodyMalformed):
		return refuse(http.StatusBadRequest, "the body of the request is malformed").closing()
	case errors.Is(err, errTooSlow):
		return refuse(http.StatusGatewayTimeout, "the site behind this server did not answer in time")
	case errors.Is(err, errUntrusted):
		return refuse(http.StatusBadGateway, "the site behind this server has not proved that it is the right one")
	case errors.Is(err, errUnreachable):
		return refuse(http.StatusBadGateway, "the site behind this server cannot be reached")
	}
	return refuse(http.StatusBadGateway, "the site behind this server broke the request off")
}

// say gives an answer of Ruche's own.
func (x *exchange) say(a answer) {
	x.res.status = a.status
	if a.status == statusClientGone {
		return
	}
	x.answered = x.answered[:0]
	add := func(id h1.ID, name, value string) {
		x.answered = append(x.answered, h1.Field{ID: id, Name: bytesOf(name), Value: bytesOf(value)})
	}
	content := a.content
	if content != "" {
		add(h1.ContentType, "Content-Type", "application/octet-stream")
	}
	if a.message != "" {
		content = fmt.Sprintf("%d %s\n\n%s.\n\nRequest ID: %s\n", a.status, http.StatusText(a.status), capital(a.message), x.id)
		add(h1.ContentType, "Content-Type", "text/plain; charset=utf-8")
		add(h1.Other, "X-Content-Type-Options", "nosniff")
		add(h1.Other, "Cache-Control", "no-store")
	}
	if a.location != "" {
		add(h1.Location, "Location", a.location)
	}
	if a.retry {
		add(h1.RetryAfter, "Retry-After", retryAfter)
	}
	add(h1.XRequestID, "X-Request-Id", x.id)
	x.advertise()
	x.insist()
	if a.close {
		x.client.closeAfter()
	}
	length := int64(len(content))
	if err := x.client.begin(a.status, nil, x.answered, length); err != nil {
		return
	}
	if !x.bodyless(a.status) && x.client.write(bytesOf(content), false) == nil {
		x.res.sent = length
	}
	x.complete = x.client.end(nil) == nil
}

func capital(s string) string { return string(s[0]-'a'+'A') + s[1:] }
