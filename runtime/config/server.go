package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/sdk/carbonxml"
)

// ServerFile is where carbon.xml lies in an installation; messages name it so.
const ServerFile = "repository/conf/carbon.xml"

// Server is what carbon.xml says to the kernel.
type Server struct {
	Name, ServerKey Value[string]
	// HostName is how others reach this node; MgtHostName how people reach its console. Empty: the machine's own name.
	HostName, MgtHostName Value[string]
	Roles                 []Value[string]
	// PortOffset is added to every port. -DportOffset has the last word.
	PortOffset Value[int]
	// HTTP and HTTPS are the gateway's ports before the offset.
	HTTP, HTTPS Value[int]
	// KeyStore holds the server's TLS pair; without a location the kernel makes its own. TrustStore holds whom to trust.
	KeyStore, TrustStore Store
	// TLSMinimum is the least TLS version: 1.0, 1.1, 1.2 or 1.3.
	TLSMinimum Value[string]
	// UpdateInterval is the time between looks at the deployment folder, where the system does not tell of changes.
	UpdateInterval Value[time.Duration]
	// Privileges say which of the mechanisms that confine components are used.
	Privileges Privileges
	// UploadLimit is the most that may be uploaded at once, in bytes.
	UploadLimit Value[int64]
}

// Store is a JKS or PKCS#12 file and how to open it.
type Store struct {
	Location, Type, Password, KeyAlias, KeyPassword Value[string]
}

// Privileges are the switches of what confines components; each is on unless carbon.xml says otherwise.
type Privileges struct {
	// OwnUser: where the server runs as root, each component is a user of its own, numbered from FirstUser.
	OwnUser   Value[bool]
	FirstUser Value[int]
	// Landlock bounds files, TCP, signals and abstract sockets; Seccomp system calls and sockets; NetworkNamespace takes the network away
	// from those that asked for none; DropCapabilities takes root's powers from those that stay root.
	Landlock, Seccomp, NetworkNamespace, DropCapabilities Value[bool]
	// Grants are privileges that the operator adds: "Component privilege".
	Grants []Value[string]
}

// defaultFirstUser begins a thousand numbers that neither distributions nor systemd give out by themselves.
const defaultFirstUser = 58000

// Ports of the gateway, and other defaults of the product.
const (
	defaultHTTP, defaultHTTPS = 9763, 9443
	defaultUpdate             = 15 * time.Second
	defaultUpload             = 100 << 20
)

func newServer() *Server {
	s := &Server{}
	text := func(v *Value[string], x string) { *v = Value[string]{x, Origin{Layer: LayerDefault}} }
	for _, v := range []*Value[string]{&s.HostName, &s.MgtHostName} {
		text(v, "")
	}
	text(&s.Name, "Carbonado Analytics Server")
	text(&s.ServerKey, "DAS")
	text(&s.TLSMinimum, "1.2")
	for _, st := range []*Store{&s.KeyStore, &s.TrustStore} {
		for _, v := range []*Value[string]{&st.Location, &st.Password, &st.KeyAlias, &st.KeyPassword} {
			text(v, "")
		}
		text(&st.Type, "JKS")
	}
	number := func(n int) Value[int] { return Value[int]{n, Origin{Layer: LayerDefault}} }
	s.PortOffset, s.HTTP, s.HTTPS = number(0), number(defaultHTTP), number(defaultHTTPS)
	s.Privileges.FirstUser = number(defaultFirstUser)
	for _, v := range []*Value[bool]{&s.Privileges.OwnUser, &s.Privileges.Landlock, &s.Privileges.Seccomp, &s.Privileges.NetworkNamespace, &s.Privileges.DropCapabilities} {
		*v = Value[bool]{true, Origin{Layer: LayerDefault}}
	}
	s.UpdateInterval = Value[time.Duration]{defaultUpdate, Origin{Layer: LayerDefault}}
	s.UploadLimit = Value[int64]{defaultUpload, Origin{Layer: LayerDefault}}
	return s
}

// field takes the value of one element of carbon.xml into the server's configuration.
type field func(*Server, Value[string]) error

// fields are the elements that have an effect, by their path below the root.
var fields = map[string]field{
	"Name":                                 text(func(s *Server) *Value[string] { return &s.Name }),
	"ServerKey":                            text(func(s *Server) *Value[string] { return &s.ServerKey }),
	"HostName":                             text(func(s *Server) *Value[string] { return &s.HostName }),
	"MgtHostName":                          text(func(s *Server) *Value[string] { return &s.MgtHostName }),
	"ServerRoles/Role":                     func(s *Server, v Value[string]) error { s.Roles = append(s.Roles, v); return nil },
	"Ports/Offset":                         whole(func(s *Server) *Value[int] { return &s.PortOffset }, 0, 65535-defaultHTTP),
	"Ports/HTTP":                           whole(func(s *Server) *Value[int] { return &s.HTTP }, 0, 65535),
	"Ports/HTTPS":                          whole(func(s *Server) *Value[int] { return &s.HTTPS }, 0, 65535),
	"Security/KeyStore/Location":           text(func(s *Server) *Value[string] { return &s.KeyStore.Location }),
	"Security/KeyStore/Type":               oneOf(func(s *Server) *Value[string] { return &s.KeyStore.Type }, "JKS", "PKCS12"),
	"Security/KeyStore/Password":           text(func(s *Server) *Value[string] { return &s.KeyStore.Password }),
	"Security/KeyStore/KeyAlias":           text(func(s *Server) *Value[string] { return &s.KeyStore.KeyAlias }),
	"Security/KeyStore/KeyPassword":        text(func(s *Server) *Value[string] { return &s.KeyStore.KeyPassword }),
	"Security/TrustStore/Location":         text(func(s *Server) *Value[string] { return &s.TrustStore.Location }),
	"Security/TrustStore/Type":             oneOf(func(s *Server) *Value[string] { return &s.TrustStore.Type }, "JKS", "PKCS12"),
	"Security/TrustStore/Password":         text(func(s *Server) *Value[string] { return &s.TrustStore.Password }),
	"Security/TLS/MinimumVersion":          oneOf(func(s *Server) *Value[string] { return &s.TLSMinimum }, "1.0", "1.1", "1.2", "1.3"),
	"Axis2Config/DeploymentUpdateInterval": updateInterval,
	"FileUploadConfig/TotalFileSizeLimit":  uploadLimit,
	"Privileges/OwnUser":                   yesNo(func(s *Server) *Value[bool] { return &s.Privileges.OwnUser }),
	"Privileges/FirstUser":                 whole(func(s *Server) *Value[int] { return &s.Privileges.FirstUser }, 1000, 2_000_000_000),
	"Privileges/Landlock":                  yesNo(func(s *Server) *Value[bool] { return &s.Privileges.Landlock }),
	"Privileges/Seccomp":                   yesNo(func(s *Server) *Value[bool] { return &s.Privileges.Seccomp }),
	"Privileges/NetworkNamespace":          yesNo(func(s *Server) *Value[bool] { return &s.Privileges.NetworkNamespace }),
	"Privileges/DropCapabilities":          yesNo(func(s *Server) *Value[bool] { return &s.Privileges.DropCapabilities }),
	"Privileges/Grant":                     grant,
}

func text(at func(*Server) *Value[string]) field {
	return func(s *Server, v Value[string]) error { *at(s) = v; return nil }
}

func whole(at func(*Server) *Value[int], least, most int) field {
	return func(s *Server, v Value[string]) error {
		n, err := strconv.Atoi(v.V)
		if err != nil || n < least || n > most {
			return ErrXML.New("%q is no whole number from %d to %d", v.V, least, most)
		}
		*at(s) = Value[int]{n, v.From}
		return nil
	}
}

func oneOf(at func(*Server) *Value[string], allowed ...string) field {
	return func(s *Server, v Value[string]) error {
		v.V = strings.TrimPrefix(v.V, "TLSv")
		if !slices.Contains(allowed, v.V) {
			return ErrXML.New("%q is none of %s", v.V, strings.Join(allowed, ", "))
		}
		*at(s) = v
		return nil
	}
}

func yesNo(at func(*Server) *Value[bool]) field {
	return func(s *Server, v Value[string]) error {
		if v.V != "true" && v.V != "false" {
			return ErrXML.New("%q is neither true nor false", v.V)
		}
		*at(s) = Value[bool]{v.V == "true", v.From}
		return nil
	}
}

func grant(s *Server, v Value[string]) error {
	_, privilege, ok := strings.Cut(v.V, " ")
	if !ok {
		return ErrXML.New("%q is no component and privilege", v.V)
	}
	if _, err := component.ParsePrivilege(privilege); err != nil {
		return ErrXML.Wrap(err, "the privilege is not right")
	}
	s.Privileges.Grants = append(s.Privileges.Grants, v)
	return nil
}

func updateInterval(s *Server, v Value[string]) error {
	var n Value[int]
	if err := whole(func(*Server) *Value[int] { return &n }, 1, 86400)(s, v); err != nil {
		return err
	}
	s.UpdateInterval = Value[time.Duration]{time.Duration(n.V) * time.Second, v.From}
	return nil
}

func uploadLimit(s *Server, v Value[string]) error {
	var n Value[int]
	if err := whole(func(*Server) *Value[int] { return &n }, 1, 1<<20)(s, v); err != nil {
		return err
	}
	s.UploadLimit = Value[int64]{int64(n.V) << 20, v.From}
	return nil
}

// idle are the elements, with all below them, that carbon.xml of WSO2's products has and that have no effect here: a file that
// is copied over is not met with complaints about them.
var idle = []string{
	"Version", "ServerURL", "Package", "WebContextRoot", "IndexPageURL", "ItemsPerPage", "MaxItemsPerPage", "RegistryHttpPort",
	"Ports/JMX", "Ports/EmbeddedLDAP", "Ports/ThriftEntitlementReceivePort", "JNDI", "IsCloudDeployment", "EnableMetering",
	"MaxThreadExecutionTime", "GhostDeployment", "Tenant", "Cache", "Axis2Config/RepositoryLocation",
	"Axis2Config/ConfigurationFile", "Axis2Config/ServiceGroupContextIdleTime", "Axis2Config/ClientRepositoryLocation",
	"Axis2Config/clientAxis2XmlLocation", "Axis2Config/HideAdminServiceWSDLs", "ServiceUserRoles", "CryptoService",
	"EnableEmailUserName", "Security/RegistryKeyStore", "Security/InternalKeyStore", "Security/NetworkAuthenticatorConfig",
	"Security/TomcatRealm", "Security/DisableTokenStore", "Security/TokenStoreClassName", "Security/STSCallBackHandlerName",
	"Security/XSSPreventionConfig", "Security/CSRFPreventionConfig", "Security/TokenValidator", "HideMenuItemIds",
	"WorkDirectory", "HousekeepingConfig", "FileUploadConfig/Mapping", "HttpGetRequestProcessors", "DeploymentSynchronizer",
	"ServerInitializers", "RequireCarbonServlet", "FeatureRepository", "APIManagement", "StatisticsReporterDisabled",
	"EnableHTTPAdminConsole", "StatisticsEnabled", "EventStat", "SystemAdminService", "ServerConfigPersistence",
}

// loadServer reads carbon.xml and the properties that stand above it.
func loadServer(o Options, x *expander) (*Server, []component.Cause, error) {
	s := newServer()
	var notices []component.Cause
	data, err := os.ReadFile(filepath.Join(o.Home, ServerFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil, ErrRead.Wrap(err, "the file cannot be read").At(ServerFile, 0, 0)
	default:
		root, err := carbonxml.Parse(ServerFile, data)
		if err != nil {
			return nil, nil, err
		}
		if root.Name.Local != "Server" {
			return nil, nil, root.Errorf(ErrXML, "the root is <%s>, not <Server>", root.Name.Local)
		}
		r := &reader{server: s, expand: x}
		if err := r.children(root, ""); err != nil {
			return nil, nil, err
		}
		notices = r.done()
	}
	if v, ok := o.Properties["portOffset"]; ok {
		err := fields["Ports/Offset"](s, Value[string]{v, Origin{Layer: LayerArgument, File: "-DportOffset"}})
		if err != nil {
			return nil, nil, ErrArgument.New("-DportOffset=%s must be a whole number from 0 to %d", v, 65535-defaultHTTP)
		}
	}
	for _, p := range []Value[int]{s.HTTP, s.HTTPS} {
		if p.V+s.PortOffset.V > 65535 {
			return nil, nil, ErrXML.New("the port %d with the offset %d lies above 65535", p.V, s.PortOffset.V).
				At(p.From.File, p.From.Line, p.From.Column)
		}
	}
	return s, notices, nil
}

// reader walks carbon.xml.
type reader struct {
	server  *Server
	expand  *expander
	idle    []*carbonxml.Element
	notices []component.Cause
}

func (r *reader) children(e *carbonxml.Element, path string) error {
	for _, c := range e.Children {
		at := c.Name.Local
		if path != "" {
			at = path + "/" + at
		}
		if err := r.element(c, at); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) element(e *carbonxml.Element, path string) error {
	take, ok := fields[path]
	switch {
	case ok:
		return r.field(take, e)
	case slices.Contains(idle, path):
		r.idle = append(r.idle, e)
		return nil
	case inner(path):
		return r.children(e, path)
	}
	f := e.Errorf(schema.ErrKey, "carbon.xml has no element %s; it is not used", path)
	if near := schema.Nearest(path, elements()); near != "" {
		f.Fix("Did you mean %s?", near)
	}
	r.notices = append(r.notices, *component.CauseOf(f))
	return nil
}

// inner tells whether elements that are known lie below a path.
func inner(path string) bool {
	return slices.ContainsFunc(elements(), func(known string) bool { return strings.HasPrefix(known, path+"/") })
}

func elements() []string {
	out := slices.Clone(idle)
	for path := range fields {
		out = append(out, path)
	}
	slices.Sort(out)
	return out
}

// field takes one value. WSO2's secure vault writes a secret as an attribute secretAlias, whatever the text says.
func (r *reader) field(take field, e *carbonxml.Element) error {
	value, pos := e.Value(), e.TextPos
	if alias, ok := e.Attr("secretAlias"); ok {
		value, pos = "${secret:"+alias.Value+"}", alias.Pos
	}
	value, _, err := r.expand.expand(value)
	if err != nil {
		return ErrPlaceholder.Wrap(err, "<%s> cannot be resolved", e.Name.Local).At(pos.File, pos.Line, pos.Column)
	}
	err = take(r.server, Value[string]{value, Origin{LayerFile, pos.File, pos.Line, pos.Column}})
	if err != nil {
		return ErrXML.Wrap(err, "<%s> is not right", e.Name.Local).At(pos.File, pos.Line, pos.Column)
	}
	return nil
}

// done gives the notices, with one for all elements that have no effect.
func (r *reader) done() []component.Cause {
	if len(r.idle) == 0 {
		return r.notices
	}
	names := make([]string, len(r.idle))
	for i, e := range r.idle {
		names[i] = e.Name.Local
	}
	n := r.idle[0].Errorf(ErrIgnored, "%d elements of carbon.xml have no effect here: %s", len(names), strings.Join(names, ", "))
	return append(r.notices, *component.CauseOf(n))
}
