package deploy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
)

const (
	// maxName is the longest name of an artifact in bytes, suffix not counted.
	maxName = 200
	// putTimeout is how long Put and Remove wait for their turn and for the owner together.
	putTimeout = time.Minute
	fileMode   = 0o640
	folderMode = 0o750
)

// Put writes a file atomically and hands it to its owner before it returns. Content that the owner refuses is an error, and
// the file is as it was. While the owner does not run, the file is written and stays PENDING. The same content again
// changes nothing.
func (s *Service) Put(ctx context.Context, r PutRequest) (Artifact, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	owner, p, err := s.locate(r.Type, r.Name)
	if err != nil {
		return Artifact{}, err
	}
	if len(r.Content) > MaxContent {
		return Artifact{}, ErrTooLarge.New("%s has %d bytes, an artifact may have %d", p, len(r.Content), MaxContent)
	}
	release, err := s.turn(ctx, owner.Component)
	if err != nil {
		return Artifact{}, err
	}
	defer release()
	if o, ok := s.find(owner.Component); ok {
		owner = o
	}
	old, err := s.repo.ReadFile(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Artifact{}, ErrDisk.Wrap(err, "%s can't be read", p)
	}
	existed := err == nil
	if existed && bytes.Equal(old, r.Content) {
		if a, ok := s.artifact(p); ok && (a.State == Deployed || a.State == Waiting) {
			return a, nil
		}
	}
	if existed && r.CreateOnly && !bytes.Equal(old, r.Content) {
		return Artifact{}, ErrExists.New("%s exists with another content", p)
	}
	tx := s.transaction()
	validated := false
	if owner.Client != nil {
		l := label{path: p, typ: r.Type, name: r.Name}
		a := s.call(ctx, owner.Client.Validate, request(l, digestOf(r.Content), r.Content, tx))
		if a.err != nil && !broke(a.err) {
			return Artifact{}, at(cause.From(a.err), p)
		}
		validated = a.err == nil && a.state == controlv1.DeployResponse_STATE_DEPLOYED
	}
	before, _ := s.artifact(p)
	e, err := s.write(p, r.Content)
	if err != nil {
		return Artifact{}, err
	}
	s.hand(ctx, owner.Component, e, tx, tx, validated)
	s.survey() // for the state where nobody could be called
	defer s.Ring()
	a, _ := s.artifact(p)
	if a.State != Faulty {
		return a, s.saveNow()
	}
	if err := errors.Join(s.putBack(ctx, owner.Component, e, old, existed, before.Revision, tx), s.saveNow()); err != nil {
		s.log.Error("a refused artifact could not be taken back", "path", p, "cause", err)
	}
	return Artifact{}, cause.FromProto(a.Cause, codes.InvalidArgument)
}

// putBack makes the disk as it was before a refused Put.
func (s *Service) putBack(ctx context.Context, owner string, e *entry, old []byte, existed bool, revision, tx uint64) error {
	if !existed {
		return s.erase(ctx, owner, e, tx)
	}
	if _, err := s.write(e.path, old); err != nil {
		return err
	}
	s.mu.Lock()
	e.revision = revision
	s.mu.Unlock()
	s.survey()
	return nil
}

// Remove deletes a file and undeploys it before it returns. One that is not there is no error.
func (s *Service) Remove(ctx context.Context, typ, name string) error {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	owner, p, err := s.locate(typ, name)
	if err != nil {
		return err
	}
	release, err := s.turn(ctx, owner.Component)
	if err != nil {
		return err
	}
	defer release()
	s.mu.Lock()
	e := s.entries[p]
	s.mu.Unlock()
	if e == nil {
		return s.delete(p)
	}
	defer s.Ring()
	if err := s.erase(ctx, owner.Component, e, s.transaction()); err != nil {
		return err
	}
	s.mu.Lock()
	var left error
	if s.entries[p] == e && e.state == Faulty {
		left = cause.FromProto(e.cause, codes.FailedPrecondition)
	}
	s.mu.Unlock()
	return errors.Join(left, s.saveNow())
}

// locate checks a type and a name and gives the owner and the path they stand for.
func (s *Service) locate(typ, name string) (Owner, string, error) {
	if err := checkName(name); err != nil {
		return Owner{}, "", err
	}
	for _, o := range s.who.Owners() {
		for _, t := range o.Types {
			if t.Type == typ && !t.InPlace {
				return o, path.Join(ServerRoot, t.Directory, name+t.Suffix), nil
			}
		}
	}
	return Owner{}, "", ErrNoType.New("no installed component declares the type %q", typ)
}

// checkName refuses names that are not one plain element of a path, or that a scan would leave out.
func checkName(name string) error {
	fail := func(why string) error { return ErrName.New("the name %q %s", name, why) }
	switch {
	case name == "":
		return fail("is empty")
	case len(name) > maxName:
		return fail(fmt.Sprintf("is longer than %d bytes", maxName))
	case !utf8.ValidString(name):
		return fail("is not UTF-8")
	case ignored(name):
		return fail("begins or ends like that of a temporary file")
	}
	for _, r := range name {
		if r < ' ' || r == 0x7f || r == '/' || r == '\\' {
			return fail("has a slash or a control character")
		}
	}
	return nil
}

// write replaces a file and records it. The caller has the owner's turn.
func (s *Service) write(p string, content []byte) (*entry, error) {
	if err := s.repo.MkdirAll(path.Dir(p), folderMode); err != nil {
		return nil, ErrDisk.Wrap(err, "the folder of %s can't be made", p)
	}
	if err := durable.Write(s.repo, p, content, fileMode); err != nil {
		return nil, ErrDisk.Wrap(err, "%s can't be written", p)
	}
	owners := s.who.Owners()
	s.mu.Lock()
	digest, err := s.blobs.put(content)
	if err != nil {
		s.mu.Unlock()
		return nil, ErrDisk.Wrap(err, "the content of %s can't be kept", p)
	}
	e := s.entries[p]
	if e == nil {
		e = s.add(p, owners)
	}
	s.reclaim(e, owners)
	st, _ := look(s.repo, p)
	e.content(digest, st)
	s.dirty = true
	s.unlockAndTell(e)
	return e, nil
}

// erase deletes a file and undeploys it. The caller has the owner's turn.
func (s *Service) erase(ctx context.Context, owner string, e *entry, tx uint64) error {
	if err := s.delete(e.path); err != nil {
		return err
	}
	s.mu.Lock()
	e.absent, e.read, e.problem, e.retryAt = true, false, nil, time.Time{}
	s.dirty = true
	s.unlockAndTell(e)
	s.hand(ctx, owner, e, tx, tx, false)
	s.survey()
	return nil
}

func (s *Service) delete(p string) error {
	if err := durable.Remove(s.repo, p); err != nil {
		return ErrDisk.Wrap(err, "%s can't be deleted", p)
	}
	return nil
}

func (s *Service) artifact(p string) (Artifact, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.entries[p]; e != nil {
		return e.artifact(), true
	}
	return Artifact{}, false
}

func (s *Service) saveNow() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save()
}
