// Package deploy keeps what the deployers have taken equal to what lies in repository/deployment/server: it finds files,
// proves that they are whole, and hands them to the component that declares their type. It must not know what an artifact
// means, how a component is started, or any component by name.
package deploy

import (
	"context"
	"path"
	"time"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// Deployers is what this room needs of the rest of the kernel: who takes which files, and how to reach them now.
type Deployers interface {
	// Owners lists every installed component whose descriptor has `deploys`, running or not. It is called often and must
	// not block. After its answer would differ, the caller of New calls Service.Ring.
	Owners() []Owner
}

// Owner is a component that takes artifacts.
type Owner struct {
	// Component is the owner's name.
	Component string
	// Types are the entries under `deploys` of its descriptor.
	Types []Type
	// Client reaches the running process; nil while the owner can't be called (not ACTIVE).
	Client controlv1.DeployerClient
	// Generation of the running process. A new one gets all of the owner's artifacts again.
	Generation uint64
	// Cause says why Client is nil: disabled by a profile, waiting, failed.
	Cause *commonv1.Cause
}

// Type is one entry under `deploys` of a descriptor.
type Type struct {
	// Type names the kind of artifact, for example "eventstream".
	Type string
	// Directory is the folder below deployment/server, for example "eventstreams".
	Directory string
	// Suffix ends the names of its files, dot included, for example ".json".
	Suffix string
	// Root replaces deployment/server as the folder above Directory, relative to the repository; empty means deployment/server.
	Root string
	// InPlace: files of any size, that the owner reads itself. It is handed no content, only path and digest, and it keeps what it took:
	// a digest that it took last is handed again after its file is gone or spoilt, and is no work for it then.
	InPlace bool
}

// folder is where files of the type lie, with a slash at its end.
func (t Type) folder() string {
	root := t.Root
	if root == "" {
		root = ServerRoot
	}
	return path.Join(root, t.Directory) + "/"
}

// State of an artifact.
type State string

// States of an artifact as `carbonado artifact ls` prints them.
const (
	// Pending: nobody can take it now. The cause says why; it is handed over as soon as its owner runs.
	Pending State = "PENDING"
	// Waiting: right, but it waits for another artifact, which the cause names.
	Waiting State = "WAITING"
	// Deployed: its owner has taken exactly this content.
	Deployed State = "DEPLOYED"
	// Faulty: refused. If an earlier content was good, that one keeps running (Artifact.Running).
	Faulty State = "FAULTY"
	// Gone is only told to Options.OnChange, never listed: the file is gone and its owner has let go of it.
	Gone State = "GONE"
)

// Artifact is what is known about one file. It is a value: a copy that nobody changes.
type Artifact struct {
	// Path is relative to repository/, with slashes.
	Path string
	// Type and Owner are empty for a file that no installed component takes.
	Type string
	// Name is the file's name without suffix.
	Name  string
	Owner string
	State State
	// Revision grows by one with each new content of this path, over restarts too.
	Revision uint64
	// Digest is the SHA-256 of the file's content, hexadecimal: the artifact's identity.
	Digest string
	// Running is the digest of the content that the owner runs; empty if none.
	Running string
	// Since is when the artifact came into State.
	Since time.Time
	// WaitsFor names what a WAITING artifact waits for, "type:name".
	WaitsFor []string
	// Application is the path of the .car that the artifact is in; empty for a file.
	Application string
	// Cause is why the artifact is not DEPLOYED, or what there is to know about it nevertheless; nil for nothing.
	Cause *commonv1.Cause
}

// PutRequest asks for an artifact to be written and deployed.
type PutRequest struct {
	// Type decides folder and suffix; Name is the file's name without suffix.
	Type, Name string
	Content    []byte
	// CreateOnly refuses with ErrExists where a file of that name has another content.
	CreateOnly bool
}

// Artifacts is the face of this room to the admin API and to components. *Service implements it.
type Artifacts interface {
	// List gives the artifacts of a type ("" is all), ordered by path.
	List(typ string) []Artifact
	// Put writes a file atomically and hands it to its owner before it returns. A refused content leaves the file as it was.
	Put(ctx context.Context, r PutRequest) (Artifact, error)
	// Remove deletes a file and undeploys it before it returns. One that is not there is no error.
	Remove(ctx context.Context, typ, name string) error
}
