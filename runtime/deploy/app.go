package deploy

import (
	"cmp"
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/carbonado/runtime/deploy/car"
	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

// AppType is the type of Carbon application archives, AppOwner who takes them: this room itself, since what is in one is for several owners.
const (
	AppType  = "carbonapp"
	AppOwner = "carbonapps"
	appCalls = 10 // an application may take so many times as long as one call of a deployer
)

// needsDeployer begins the names that an application waits for where nobody takes a type, or its owner does not run.
const needsDeployer = "deployer:"

// Causes of applications.
var (
	ErrApp = cause.Define("CBN-DEP-021", "An application is not deployed, because an artifact in it is not.",
		"Correct the artifact; all of the application was undone, and what was deployed before runs on.").Code(codes.FailedPrecondition)
	ErrAppTwice = cause.Define("CBN-DEP-022", "The same application is deployed from another file.", "Remove one of the two, or give one another version.").Code(codes.AlreadyExists)
	ErrAppRoles = cause.Define("CBN-DEP-023", "Artifacts of an application are for servers of other roles.",
		"If they are meant for this one too, add their role under ServerRoles in carbon.xml, or start with -DserverRoles=ROLE.").Code(codes.FailedPrecondition)
	ErrAppOwner = cause.Define("CBN-DEP-024", "An application waits for the deployer of an artifact in it.",
		"Install or start a component that takes the type; see `carbonado component diag` of it.").Code(codes.FailedPrecondition)
	ErrAppName = cause.Define("CBN-DEP-025", "An artifact of an application has a file name that its deployer does not take.", "Give the file the suffix that is named.").Code(codes.InvalidArgument)
)

// apps is the deployer of applications.
type apps struct {
	s     *Service
	roles []string
}

func (a *apps) owner() Owner {
	return Owner{Component: AppOwner, Client: a, Generation: 1, Types: []Type{{Type: AppType, Directory: "carbonapps", Suffix: ".car"}}}
}

// takers are all who take files: components, what the kernel adds, and this room.
func (s *Service) takers() []Owner { return append(slices.Clone(s.who.Owners()), s.apps.owner()) }

// child is one artifact of an application as it is to be.
type child struct {
	path, as string
	typ      Type
	owner    string
	content  []byte
	revision uint64 // to go back to; 0 is a new content
}

// children reads an application and finds the owners of what is in it. wait says for which of them it has to wait.
func (a *apps) children(file string, content []byte) (app *car.Application, list []child, wait *controlv1.DeployResponse, err error) {
	if app, err = car.Read(file, content, a.roles); err != nil {
		return nil, nil, nil, err
	}
	owners := a.s.who.Owners()
	names := map[string]bool{}
	var why []error
	missing := func(name string, reason error) {
		if !names[name] {
			names[name] = true
			why = append(why, reason)
		}
	}
	for _, x := range app.Artifacts {
		c := child{path: path.Join(file, x.Path), content: x.Content}
		o, t, known := taker(owners, x)
		if !known {
			missing(needsDeployer+x.Type, ErrAppOwner.New("no installed component takes %s, of the type %s", c.path, x.Type))
			continue
		}
		if !strings.HasSuffix(x.File, t.Suffix) || len(x.File) == len(t.Suffix) {
			return nil, nil, nil, ErrAppName.New("the file of %s must end in %s", x.Name, t.Suffix).At(c.path, 0, 0)
		}
		if o.Client == nil {
			reason := ErrAppOwner.New("%s waits for %s, which is not running", c.path, o.Component)
			if o.Cause != nil {
				reason = ErrAppOwner.Wrap(cause.FromProto(o.Cause, codes.Unavailable), "%s waits for %s, which is not running", c.path, o.Component)
			}
			missing(needsDeployer+o.Component, reason)
		}
		c.as, c.typ, c.owner = t.folder()+x.File, t, o.Component
		list = append(list, c)
	}
	if len(why) > 0 {
		wait = &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_WAITING, WaitsFor: sorted(names), Cause: cause.Proto(why[0])}
	}
	return app, list, wait, nil
}

// taker finds who takes an artifact of an application: by the folder where DAS kept its type, or by the type's name.
func taker(owners []Owner, x car.Artifact) (Owner, Type, bool) {
	for _, o := range owners {
		for _, t := range o.Types {
			if !t.InPlace && (x.Folder != "" && t.Root == "" && t.Directory == x.Folder || x.Folder == "" && t.Type == x.Type) {
				return o, t, true
			}
		}
	}
	return Owner{}, Type{}, false
}

// deployersThere tells whether all whom an application waits for run now.
func deployersThere(owners []Owner, names []string) bool {
	for _, n := range names {
		want, ok := strings.CutPrefix(n, needsDeployer)
		if !ok {
			return false
		}
		there := slices.ContainsFunc(owners, func(o Owner) bool { return o.Component == want && o.Client != nil })
		if !there {
			o, _, known := taker(owners, car.Artifact{Type: want, Folder: car.Folder(want)})
			there = known && o.Client != nil
		}
		if !there {
			return false
		}
	}
	return len(names) > 0
}

func faultyApp(err error) *controlv1.DeployResponse {
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_FAULTY, Cause: cause.Proto(err)}
}

// Validate implements controlv1.DeployerClient: the archive, and whether all of it has an owner. The artifacts are validated one by one when
// they are deployed: each may need what stands before it.
func (a *apps) Validate(_ context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	_, _, wait, err := a.children(r.Artifact.Path, r.Artifact.Content)
	switch {
	case err != nil:
		return faultyApp(err), nil
	case wait != nil:
		return wait, nil
	}
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
}

// Deploy implements controlv1.DeployerClient.
func (a *apps) Deploy(ctx context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	file := r.Artifact.Path
	app, list, wait, err := a.children(file, r.Artifact.Content)
	switch {
	case err != nil:
		return faultyApp(err), nil
	case wait != nil:
		return wait, nil
	}
	identity := app.Name + "_" + app.Version
	if other := a.s.offeredBy("application:"+identity, file); other != "" {
		return faultyApp(ErrAppTwice.New("%s %s is deployed from %s", app.Name, app.Version, other)), nil
	}
	if err := a.s.carry(ctx, file, list, r.Transaction); err != nil {
		if broke(err) {
			return nil, err
		}
		return faultyApp(err), nil
	}
	resp := &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED, Offers: []string{"application:" + identity}}
	if len(app.Skipped) > 0 {
		text := make([]string, len(app.Skipped))
		for i, x := range app.Skipped {
			text[i] = x.String()
		}
		notice := ErrAppRoles.New("for other servers than this one: %s", strings.Join(text, ", "))
		a.s.log.Info("application", "path", file, "skipped", strings.Join(text, ", "), "cause", notice)
		resp.Cause = cause.Proto(notice)
	}
	return resp, nil
}

// Update implements controlv1.DeployerClient: what is no longer in the application goes, the rest is updated or comes, as one.
func (a *apps) Update(ctx context.Context, r *controlv1.DeployRequest, o ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	return a.Deploy(ctx, r, o...)
}

// Undeploy implements controlv1.DeployerClient. An artifact that its owner does not let go of is tried again by itself.
func (a *apps) Undeploy(ctx context.Context, r *controlv1.DeployRequest, _ ...grpc.CallOption) (*controlv1.DeployResponse, error) {
	if err := a.s.carry(ctx, r.Artifact.Path, nil, r.Transaction); err != nil && ctx.Err() != nil {
		return nil, err
	}
	return &controlv1.DeployResponse{State: controlv1.DeployResponse_STATE_DEPLOYED}, nil
}

// offeredBy names another file that offers a name; empty if none does.
func (s *Service) offeredBy(name, but string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, e := range s.entries {
		if p != but && slices.Contains(e.offers, name) {
			return p
		}
	}
	return ""
}

// carry makes the artifacts of an application those of want, in their order; where one is refused, all is as it was before.
func (s *Service) carry(ctx context.Context, app string, want []child, tx uint64) error {
	before := s.hold(app, want)
	defer s.unhold(app)
	var removed, touched []child
	fail := func(err error) error {
		if ctx.Err() != nil {
			return err // the kernel stops: the next one begins anew
		}
		s.goBack(ctx, app, before, removed, touched, tx)
		return err
	}
	for _, c := range slices.Backward(before) {
		if slices.ContainsFunc(want, func(w child) bool { return w.path == c.path }) {
			continue
		}
		removed = append(removed, c)
		if err := s.takeOut(ctx, c, tx); err != nil {
			if want == nil {
				s.log.Warn("application", "path", app, "cause", err)
				continue
			}
			return fail(err)
		}
	}
	for i, c := range want {
		touched = append(touched, c)
		if err := s.bring(ctx, app, i, c, tx); err != nil {
			return fail(err)
		}
	}
	// What waited for another artifact of the application is handed over once more.
	for range maxRounds {
		again := false
		for i, c := range want {
			s.mu.Lock()
			e := s.entries[c.path]
			due := e != nil && e.due && e.state == Waiting
			s.mu.Unlock()
			if !due {
				continue
			}
			again = true
			if err := s.bring(ctx, app, i, c, tx); err != nil {
				return fail(err)
			}
		}
		if !again {
			break
		}
	}
	return nil
}

// hold keeps the artifacts of an application from being handed over by themselves, and gives those that there are, in their order.
func (s *Service) hold(app string, want []child) []child {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*entry
	for _, e := range s.entries {
		if e.app == app {
			e.held = true
			if !e.absent {
				list = append(list, e)
			}
		}
	}
	slices.SortFunc(list, func(a, b *entry) int { return cmp.Or(cmp.Compare(a.place, b.place), strings.Compare(a.path, b.path)) })
	out := make([]child, 0, len(list))
	for _, e := range list {
		digest := e.good
		if digest == "" {
			digest = e.digest
		}
		content, err := s.blobs.get(digest)
		if err != nil {
			continue // it can't be brought back, whatever happens
		}
		out = append(out, child{path: e.path, as: e.as, typ: Type{Type: e.typ, Suffix: path.Ext(e.path)}, owner: e.owner, content: content, revision: e.revision})
	}
	return out
}

func (s *Service) unhold(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.app == app {
			e.held = false
		}
	}
}

// bring hands one artifact of an application over, if its owner does not run exactly this already.
func (s *Service) bring(ctx context.Context, app string, place int, c child, tx uint64) error {
	s.mu.Lock()
	e := s.entries[c.path]
	if e == nil {
		e = newEntry(c.path)
		e.app, e.state, e.since = app, Pending, s.now()
		s.entries[c.path] = e
	}
	if e.owner != c.owner || e.typ != c.typ.Type {
		s.offer(e, nil)
		e.forget()
		e.claim(c.typ, c.owner)
	}
	e.as, e.place, e.held = c.as, place, true
	digest, err := s.blobs.put(c.content)
	if err != nil {
		s.mu.Unlock()
		return ErrDisk.Wrap(err, "the content of %s can't be kept", c.path)
	}
	e.content(digest, stamp{})
	if c.revision > 0 {
		e.revision = c.revision
	}
	s.dirty = true
	s.unlockAndTell(e)
	release, err := s.turn(ctx, c.owner)
	if err != nil {
		return err
	}
	answered := s.hand(ctx, c.owner, e, tx, tx, false)
	release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if st, why := e.rest(); answered && e.state == Pending {
		s.settle(e, st, why)
	}
	switch {
	case e.state == Deployed, e.state == Waiting, e.running == digest:
		return nil
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case e.state == Faulty:
		reason := cause.FromProto(e.cause, codes.FailedPrecondition)
		file, line, column := reason.Position()
		return ErrApp.Wrap(reason, "%s is refused", c.path).At(file, line, column)
	}
	return status.Errorf(codes.Unavailable, "%s did not answer about %s", c.owner, c.path)
}

// takeOut undeploys one artifact of an application and forgets it.
func (s *Service) takeOut(ctx context.Context, c child, tx uint64) error {
	s.mu.Lock()
	e := s.entries[c.path]
	if e == nil {
		s.mu.Unlock()
		return nil
	}
	e.absent, e.read, e.problem, e.retryAt = true, false, nil, time.Time{}
	s.dirty = true
	if !e.handed() && e.good == "" {
		s.drop(e)
		s.unlockAndTell(e)
		return nil
	}
	s.unlockAndTell(e)
	release, err := s.turn(ctx, e.owner)
	if err != nil {
		return err
	}
	s.hand(ctx, e.owner, e, tx, tx, false)
	release()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[c.path] == e {
		return ErrStillRuns.New("%s did not let go of %s", e.owner, c.path)
	}
	return nil
}

// goBack undoes what carry did: the newest first.
func (s *Service) goBack(ctx context.Context, app string, before, removed, touched []child, tx uint64) {
	var errs []error
	was := func(p string) (int, child, bool) {
		for i, c := range before {
			if c.path == p {
				return i, c, true
			}
		}
		return 0, child{}, false
	}
	for _, c := range slices.Backward(touched) {
		if i, old, ok := was(c.path); ok {
			errs = append(errs, s.bring(ctx, app, i, old, tx))
		} else {
			errs = append(errs, s.takeOut(ctx, c, tx))
		}
	}
	for _, c := range slices.Backward(removed) {
		i, old, _ := was(c.path)
		errs = append(errs, s.bring(ctx, app, i, old, tx))
	}
	if err := errors.Join(errs...); err != nil {
		s.log.Error("an application could not be put back as it was", "path", app, "cause", err)
	}
}

// appState is what an application's artifacts say about it: the worst of them.
func (s *Service) appState(e *entry, st State, why error) (State, error) {
	if st != Deployed {
		return st, why
	}
	rank := map[State]int{Deployed: 0, Waiting: 1, Pending: 2, Faulty: 3}
	var worst *entry
	for _, p := range sorted(s.entries) {
		if x := s.entries[p]; x.app == e.path && !x.absent && rank[x.state] > 0 && (worst == nil || rank[x.state] > rank[worst.state]) {
			worst = x
		}
	}
	if worst == nil {
		if e.notice != nil {
			return Deployed, cause.FromProto(e.notice, codes.FailedPrecondition)
		}
		return Deployed, nil
	}
	reason := cause.FromProto(worst.cause, codes.FailedPrecondition)
	if reason == nil {
		return worst.state, ErrApp.New("%s is %s", worst.path, worst.state)
	}
	file, line, column := reason.Position()
	return worst.state, ErrApp.Wrap(reason, "%s is %s", worst.path, worst.state).At(file, line, column)
}

// noticeOf keeps what an owner says about an artifact that it takes.
func noticeOf(a answered) *commonv1.Cause {
	if a.err != nil || a.state != controlv1.DeployResponse_STATE_DEPLOYED {
		return nil
	}
	return a.why
}
