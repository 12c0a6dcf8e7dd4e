package component

import (
	"fmt"
	"path"
	"strings"
)

// PrivilegeKind is what a component may ask for beyond its own folders.
type PrivilegeKind string

const (
	// TLSServer: the installation's TLS pair is given to it.
	TLSServer PrivilegeKind = "tls.server"
	// NetConnect: it may open connections to other machines and to other ports of this one.
	NetConnect PrivilegeKind = "net.connect"
	// NetListen: it may open ports by itself, beside those under `ports`.
	NetListen PrivilegeKind = "net.listen"
	// RepositoryRead:PATH lets it read a file or folder of repository/.
	RepositoryRead PrivilegeKind = "repository.read"
	// RepositoryLink:PATH shows its own file of that name there, as a link into its data folder.
	RepositoryLink PrivilegeKind = "repository.link"
	// FilesRead:/PATH and FilesWrite:/PATH let it at files outside of the installation.
	FilesRead  PrivilegeKind = "files.read"
	FilesWrite PrivilegeKind = "files.write"
)

// Privilege is one entry under `privileges`.
type Privilege struct {
	Kind PrivilegeKind
	// Path is relative to repository/ or absolute, as the kind has it; empty where the kind has none.
	Path string
}

// ParsePrivilege reads an entry such as "net.connect" or "repository.read:conf/datasources".
func ParsePrivilege(text string) (Privilege, error) {
	kind, at, has := strings.Cut(text, ":")
	p := Privilege{Kind: PrivilegeKind(kind), Path: at}
	switch p.Kind {
	case TLSServer, NetConnect, NetListen:
		if has {
			return p, fmt.Errorf("privilege %s has no path", kind)
		}
		return p, nil
	case RepositoryRead, RepositoryLink:
		if at == "" || path.IsAbs(at) || path.Clean(at) != at || strings.HasPrefix(at, "..") || at == "." {
			return p, fmt.Errorf("privilege %s: %q is no path within repository/", kind, at)
		}
		top, rest, _ := strings.Cut(at, "/")
		if p.Kind == RepositoryRead && (top == "data" || top == "run" || top == "logs" || top == "database") {
			return p, fmt.Errorf("privilege %s: repository/%s is not for others; see shares and uses", kind, top)
		}
		if p.Kind == RepositoryLink && (top != "data" || rest == "" || strings.Contains(rest, "/")) {
			return p, fmt.Errorf("privilege %s: %q is not data/NAME", kind, at)
		}
		return p, nil
	case FilesRead, FilesWrite:
		if !path.IsAbs(at) || path.Clean(at) != at {
			return p, fmt.Errorf("privilege %s: %q is no absolute path", kind, at)
		}
		return p, nil
	}
	return p, fmt.Errorf("no privilege is called %q: there are tls.server, net.connect, net.listen, repository.read:PATH, repository.link:data/NAME, files.read:/PATH and files.write:/PATH", kind)
}
