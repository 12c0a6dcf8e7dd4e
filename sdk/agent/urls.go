package agent

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// address is one endpoint's pair of addresses.
type address struct {
	publish, login       string // host:port
	secure, secureLogin  bool
	publishURL, loginURL string // for messages
}

// groupSpec is one group of URLs.
type groupSpec struct {
	text      string
	spread    bool // load balancing; else failover
	addresses []address
}

// parseURLs reads the grammar of DAS.md section 3.9.
func parseURLs(urls, auth string) ([]groupSpec, error) {
	groups, err := split(urls)
	if err != nil {
		return nil, err
	}
	var logins []groupSpec
	if strings.TrimSpace(auth) != "" {
		if logins, err = split(auth); err != nil {
			return nil, err
		}
		if len(logins) != len(groups) {
			return nil, ErrOptions.New("%d groups of AuthURLs for %d groups of URLs", len(logins), len(groups))
		}
	}
	for i := range groups {
		g := &groups[i]
		for j := range g.addresses {
			a := &g.addresses[j]
			var err error
			if a.publish, a.secure, err = parseURL(a.publishURL); err != nil {
				return nil, err
			}
			if logins == nil {
				err = a.defaultLogin()
			} else if l := logins[i]; len(l.addresses) != len(g.addresses) || len(l.addresses) > 1 && l.spread != g.spread {
				err = ErrOptions.New("AuthURLs %s do not have the structure of URLs %s", l.text, g.text)
			} else {
				a.loginURL = l.addresses[j].publishURL
				a.login, a.secureLogin, err = parseURL(a.loginURL)
			}
			if err != nil {
				return nil, err
			}
			if !a.secureLogin {
				return nil, ErrOptions.New("login URL %s: only ssl:// is possible, a password must not travel in clear", a.loginURL)
			}
		}
	}
	return groups, nil
}

func split(text string) ([]groupSpec, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, ErrOptions.New("no URL of a receiver")
	}
	if !strings.HasPrefix(text, "{") {
		g, err := group1(text)
		return []groupSpec{g}, err
	}
	var out []groupSpec
	for rest := text; ; {
		end := strings.IndexByte(rest, '}')
		if !strings.HasPrefix(rest, "{") || end < 0 {
			return nil, ErrOptions.New("URLs %q: groups are written {…},{…}", text)
		}
		g, err := group1(rest[1:end])
		if err != nil {
			return nil, err
		}
		out = append(out, g)
		rest = strings.TrimSpace(rest[end+1:])
		if rest == "" {
			return out, nil
		}
		if !strings.HasPrefix(rest, ",") {
			return nil, ErrOptions.New("URLs %q: a comma is needed between groups", text)
		}
		rest = strings.TrimSpace(rest[1:])
	}
}

func group1(text string) (groupSpec, error) {
	g := groupSpec{text: text}
	if strings.ContainsAny(text, "{}") {
		return g, ErrOptions.New("URLs %q: braces do not match", text)
	}
	sep := "|"
	if strings.Contains(text, ",") {
		if strings.Contains(text, "|") {
			return g, ErrOptions.New("URLs %q mix failover (|) and load balancing (,) in one group", text)
		}
		g.spread, sep = true, ","
	}
	for _, u := range strings.Split(text, sep) {
		g.addresses = append(g.addresses, address{publishURL: strings.TrimSpace(u)})
	}
	return g, nil
}

func parseURL(text string) (hostPort string, secure bool, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.User != nil {
		return "", false, ErrOptions.New("URL %q is not of the form tcp://host:port or ssl://host:port", text)
	}
	port := u.Port()
	switch u.Scheme {
	case "tcp":
		if port == "" {
			port = "7611"
		}
	case "ssl":
		if port == "" {
			port = "7711"
		}
		secure = true
	default:
		return "", false, ErrOptions.New("URL %q is not of the form tcp://host:port or ssl://host:port", text)
	}
	return net.JoinHostPort(u.Hostname(), port), secure, nil
}

func (a *address) defaultLogin() error {
	a.secureLogin = true
	if a.secure {
		a.login, a.loginURL = a.publish, a.publishURL
		return nil
	}
	host, port, err := net.SplitHostPort(a.publish)
	if err != nil {
		return ErrOptions.Wrap(err, "URL %s", a.publishURL)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return ErrOptions.Wrap(err, "URL %s", a.publishURL)
	}
	a.login = net.JoinHostPort(host, strconv.Itoa(n+100))
	a.loginURL = "ssl://" + a.login
	return nil
}
