package launch

import (
	"errors"
	"strconv"
	"strings"
)

// Cage is what one process can get at. The zero value leaves it what the guardian's user has.
type Cage struct {
	// UID and GID of the process's own user, Groups its other groups; UID 0 leaves the guardian's user.
	UID    int   `json:"uid,omitempty"`
	GID    int   `json:"gid,omitempty"`
	Groups []int `json:"groups,omitempty"`
	// DropCapabilities takes root's capabilities from a process that stays root.
	DropCapabilities bool `json:"dropCapabilities,omitempty"`
	// Landlock leaves it the files of Rules alone, and its scopes (signals, abstract sockets) where the system knows them.
	Landlock bool   `json:"landlock,omitempty"`
	Rules    []Rule `json:"rules,omitempty"`
	// Seccomp refuses system calls that no component needs, and sockets of other families than Connect and Listen allow.
	Seccomp bool `json:"seccomp,omitempty"`
	// NoNetwork puts it into a network namespace that has none. The guardian makes the namespace.
	NoNetwork bool `json:"noNetwork,omitempty"`
	// Connect and Listen: it may open sockets to connect with, and to listen on. Without both it has Unix sockets alone, beside the
	// listeners that it was given.
	Connect bool `json:"connect,omitempty"`
	Listen  bool `json:"listen,omitempty"`
}

// Access is what a rule allows below its path.
type Access uint8

const (
	// Read files and list folders.
	Read Access = 1 << iota
	// Write, make, rename and remove them.
	Write
	// Execute files.
	Execute
)

// Rule allows access to a file or to all below a folder. A path that doesn't exist is left out.
type Rule struct {
	Path   string `json:"path"`
	Access Access `json:"access"`
}

// text is the cage as an argument of the launcher: one setting a line, paths quoted.
func (c Cage) text() string {
	var b strings.Builder
	put := func(key, value string) { b.WriteString(key + " " + value + "\n") }
	if c.UID != 0 {
		put("user", strconv.Itoa(c.UID))
		put("group", strconv.Itoa(c.GID))
		for _, g := range c.Groups {
			put("more", strconv.Itoa(g))
		}
	}
	for _, flag := range c.flags() {
		if *flag.on {
			put(flag.key, "1")
		}
	}
	for _, r := range c.Rules {
		put("rule"+strconv.Itoa(int(r.Access)), strconv.Quote(r.Path))
	}
	return b.String()
}

type cageFlag struct {
	key string
	on  *bool
}

func (c *Cage) flags() []cageFlag {
	return []cageFlag{
		{"nocap", &c.DropCapabilities}, {"landlock", &c.Landlock}, {"seccomp", &c.Seccomp}, {"nonet", &c.NoNetwork},
		{"connect", &c.Connect}, {"listen", &c.Listen},
	}
}

// parseCage reads what text wrote.
func parseCage(text string) (c Cage, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		key, value, _ := strings.Cut(line, " ")
		if access, ok := strings.CutPrefix(key, "rule"); ok {
			a, err := strconv.ParseUint(access, 10, 8)
			path, quoted := strconv.Unquote(value)
			if err != nil || quoted != nil {
				return c, errors.New("cage: " + line)
			}
			c.Rules = append(c.Rules, Rule{Path: path, Access: Access(a)})
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil {
			return c, errors.New("cage: " + line)
		}
		switch key {
		case "user":
			c.UID = n
		case "group":
			c.GID = n
		case "more":
			c.Groups = append(c.Groups, n)
		default:
			known := false
			for _, flag := range c.flags() {
				if flag.key == key {
					*flag.on, known = true, true
				}
			}
			if !known {
				return c, errors.New("cage: " + line + " is not known")
			}
		}
	}
	return c, nil
}
