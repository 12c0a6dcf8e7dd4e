package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"
)

const (
	// maxRounds bounds how long a chain of artifacts that wait for each other is followed in one batch. What is left is
	// followed in the next one.
	maxRounds = 64
	// maxBreaks is how often an owner may end or hang over one content before the content is held to be at fault.
	maxBreaks = 3
	// firstRetry and lastRetry bound the growing time between two tries.
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
	// tenant is carbon.super.
	tenant = -1234
)

// backoff gives the time before try n (from 0) is repeated.
func backoff(n int) time.Duration { return min(firstRetry<<min(n, 10), lastRetry) }

// converge hands over what is not as the disk says, in batches: undeploy, update, deploy. Owners are called in parallel,
// each one artifact at a time. What an artifact offers wakes those that wait for it within the same call.
func (s *Service) converge(ctx context.Context) {
	var batch uint64
	for round := 0; round < maxRounds && ctx.Err() == nil; round++ {
		work := s.survey()
		if len(work) == 0 {
			break
		}
		tx := s.transaction()
		if batch == 0 {
			batch = tx
		}
		for _, a := range []action{undeploy, update, deploy} {
			var owners sync.WaitGroup
			for owner, list := range work[a] {
				owners.Go(func() { s.serve(ctx, owner, list, tx, batch) })
			}
			owners.Wait()
		}
	}
	s.mu.Lock()
	err := s.save()
	s.mu.Unlock()
	if err != nil {
		s.log.Error("what is deployed can't be remembered", "cause", err)
	}
}

// serve brings one owner's artifacts up to date. It stops at the first sign that the owner is gone.
func (s *Service) serve(ctx context.Context, owner string, list []*entry, tx, batch uint64) {
	for _, e := range list {
		release, err := s.turn(ctx, owner)
		if err != nil {
			return
		}
		ok := s.hand(ctx, owner, e, tx, batch, false)
		release()
		if !ok {
			return
		}
	}
}

// turn waits until nobody else calls the owner.
func (s *Service) turn(ctx context.Context, owner string) (release func(), err error) {
	s.mu.Lock()
	t := s.turns[owner]
	if t == nil {
		t = make(chan struct{}, 1)
		s.turns[owner] = t
	}
	s.mu.Unlock()
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ErrBusy.Wrap(context.Cause(ctx), "%s is still busy with another artifact", owner)
	}
}

// transaction gives a number that grows for ever.
func (s *Service) transaction() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used++
	if s.used > s.top {
		s.top = s.used + transactionBlock
		s.dirty = true
		if err := s.save(); err != nil {
			s.log.Error("what is deployed can't be remembered", "cause", err)
		}
	}
	return s.used
}

// survey finds what has to be done, by action and owner, ordered by path, and says of the rest why nothing is.
func (s *Service) survey() map[action]map[string][]*entry {
	owners := s.takers()
	byName := map[string]Owner{}
	for _, o := range owners {
		byName[o.Component] = o
	}
	s.mu.Lock()
	now := s.now()
	work := map[action]map[string][]*entry{}
	for owner, p := range s.pauses {
		if o := byName[owner]; o.Client == nil || o.Generation != p.generation {
			delete(s.pauses, owner)
		} else if !p.until.IsZero() && !now.Before(p.until) {
			p.until = time.Time{}
			s.pauses[owner] = p
		}
	}
	s.resume(byName)
	all := make([]*entry, 0, len(s.entries))
	for _, p := range sorted(s.entries) {
		e := s.entries[p]
		all = append(all, e)
		if e.held {
			continue
		}
		if e.app != "" && (s.entries[e.app] == nil || s.entries[e.app].gone) {
			e.absent = true // its application went while nobody looked
		}
		if e.typ == AppType && e.state == Waiting && !e.due && deployersThere(owners, e.needs) {
			e.due = true
		}
		if !e.retryAt.IsZero() && !now.Before(e.retryAt) {
			e.retryAt, e.due = time.Time{}, true
		}
		s.reclaim(e, owners)
		o, ok := byName[e.owner]
		if !ok || o.Client == nil {
			s.rest(e, o, ok)
			continue
		}
		if !s.pauses[e.owner].until.IsZero() {
			continue
		}
		if e.generation != o.Generation {
			s.offer(e, nil)
		}
		switch do := e.next(o, now); {
		case do.action != nothing:
			if work[do.action] == nil {
				work[do.action] = map[string][]*entry{}
			}
			work[do.action][e.owner] = append(work[do.action][e.owner], e)
		case e.absent && !e.handed() && e.retryAt.IsZero():
			s.drop(e)
		case !e.absent:
			st, why := e.rest()
			if e.typ == AppType {
				st, why = s.appState(e, st, why)
			}
			s.settle(e, st, why)
		}
	}
	s.unlockAndTell(all...)
	return work
}

// rest settles an entry that nobody can take now. The caller holds mu.
func (s *Service) rest(e *entry, o Owner, installed bool) {
	s.offer(e, nil)
	e.forget()
	switch {
	case e.absent && !(installed && e.good != ""):
		s.drop(e)
	case e.absent:
		e.gone = true
		s.settle(e, Pending, nil)
	case e.problem != nil:
		s.settle(e, Faulty, e.problem)
	case !installed:
		s.settle(e, Pending, ErrNoOwner.New("no installed component takes %s", e.path))
	case e.breaks >= maxBreaks:
		// It is the artifact that brings its owner down: that stays said.
	case o.Cause != nil:
		s.settle(e, Pending, ErrOwnerAway.Wrap(cause.FromProto(o.Cause, codes.Unavailable), "%s waits for %s, which is not running", e.path, o.Component))
	default:
		s.settle(e, Pending, ErrOwnerAway.New("%s waits for %s, which is not running", e.path, o.Component))
	}
}

// reclaim follows a change of who takes a path. The caller holds mu.
func (s *Service) reclaim(e *entry, owners []Owner) {
	o, t, ok := match(owners, e.where())
	if !ok {
		if e.absent || slices.ContainsFunc(owners, func(o Owner) bool { return o.Component == e.owner }) {
			return // still installed, but it no longer declares the type: it keeps what it has until it is asked to let go
		}
		e.typ, e.owner = "", ""
		return
	}
	if o.Component == e.owner && t.Type == e.typ {
		return
	}
	s.offer(e, nil)
	e.forget()
	e.claim(t, o.Component)
	e.good = ""
	if e.read && !s.blobs.has(e.digest) {
		e.read, e.stamp, s.relook = false, stamp{}, true
	}
	s.dirty = true
}

// drop forgets a path. The caller holds mu.
func (s *Service) drop(e *entry) {
	s.withdraw(e)
	s.need(e, nil)
	delete(s.entries, e.path)
	e.gone, s.dirty = true, true
}

// hand does the next thing about one entry, whatever it is by now. The caller has the owner's turn. It is false if the
// owner can't be called any more.
func (s *Service) hand(ctx context.Context, owner string, e *entry, tx, batch uint64, validated bool) bool {
	o, ok := s.find(owner)
	if !ok || o.Client == nil {
		return false
	}
	s.mu.Lock()
	if s.entries[e.path] != e || e.owner != owner {
		s.mu.Unlock()
		return true
	}
	do := e.next(o, s.now())
	e.due = false
	l := e.label()
	s.mu.Unlock()
	if do.action == nothing {
		return true
	}
	if do.action == undeploy {
		return s.takeBack(ctx, o, e, request(l, do.digest, nil, tx), batch)
	}
	a := s.try(ctx, o, l, do, tx, validated)
	if ctx.Err() != nil {
		return false
	}
	s.mu.Lock()
	if a.missing {
		if parent := s.entries[e.app]; parent != nil {
			parent.due = true // the application has it
			s.unlockAndTell(e)
			return true
		}
		e.read, e.stamp, s.relook = false, stamp{}, true
		s.unlockAndTell(e)
		return true
	}
	gone := s.answer(e, o, do, a, batch)
	fall := e.state == Faulty && e.running == "" && !gone && e.good != "" && e.good != do.digest
	good := e.good
	s.unlockAndTell(e)
	if fall {
		gone = s.fallBack(ctx, o, e, l, good, tx)
	}
	return !gone
}

// fallBack gives an owner that runs nothing of an artifact the last content that was good.
func (s *Service) fallBack(ctx context.Context, o Owner, e *entry, l label, good string, tx uint64) (gone bool) {
	a := s.try(ctx, o, l, step{deploy, good}, tx, false)
	if ctx.Err() != nil {
		return true
	}
	s.mu.Lock()
	switch {
	case a.err != nil && broke(a.err):
		s.pauseOwner(o)
		e.tried, gone = "", true
	case a.err == nil && a.state == controlv1.DeployResponse_STATE_DEPLOYED:
		e.running = good
		s.need(e, a.waitsFor)
		s.offer(e, append(a.offers, e.typ+":"+e.name))
	case a.err == nil && a.state == controlv1.DeployResponse_STATE_WAITING:
		s.need(e, a.waitsFor)
	default:
		s.log.Error("the last good content is refused too", "path", e.path, "digest", brief(good), "cause", a.err)
	}
	s.unlockAndTell(e)
	return gone
}

// answered is what an owner said about one content.
type answered struct {
	state    controlv1.DeployResponse_State
	waitsFor []string
	offers   []string
	why      *commonv1.Cause // of a waiting one
	err      error           // why it was refused, or that the owner did not answer
	missing  bool            // the content is no longer kept
}

// try validates and hands over one content.
func (s *Service) try(ctx context.Context, o Owner, l label, do step, tx uint64, validated bool) answered {
	var content []byte
	var err error
	if !l.inPlace {
		content, err = s.blobs.get(do.digest)
	}
	if err != nil {
		s.log.Warn("a kept content is read again from its file", "path", l.path, "reason", err)
		return answered{missing: true}
	}
	r := request(l, do.digest, content, tx)
	if !validated {
		if a := s.call(ctx, o.Client.Validate, r); a.err != nil || a.state == controlv1.DeployResponse_STATE_WAITING {
			return a
		}
	}
	if do.action == update {
		return s.announced(ctx, OperationUpdate, o.Component, o.Client.Update, r)
	}
	return s.announced(ctx, OperationDeploy, o.Component, o.Client.Deploy, r)
}

func request(l label, digest string, content []byte, tx uint64) *controlv1.DeployRequest {
	return &controlv1.DeployRequest{Transaction: tx, Artifact: &controlv1.Artifact{
		Path: l.path, Type: l.typ, Name: l.name, Digest: digest, Content: content, Tenant: tenant,
	}}
}

type method func(context.Context, *controlv1.DeployRequest, ...grpc.CallOption) (*controlv1.DeployResponse, error)

func (s *Service) call(ctx context.Context, m method, r *controlv1.DeployRequest) answered {
	patience := s.times.Call
	if r.Artifact.Type == AppType {
		patience *= appCalls
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := m(ctx, r)
	if err != nil {
		return answered{err: err}
	}
	a := answered{state: resp.State, waitsFor: resp.WaitsFor, offers: resp.Offers, why: resp.Cause}
	switch resp.State {
	case controlv1.DeployResponse_STATE_DEPLOYED:
	case controlv1.DeployResponse_STATE_WAITING:
		if resp.Cause == nil && len(resp.WaitsFor) == 0 {
			a.err = ErrRefused.New("the component says that %s waits, but not for what", r.Artifact.Path)
		}
	case controlv1.DeployResponse_STATE_FAULTY:
		a.err = ErrRefused.New("the component refused %s without a reason", r.Artifact.Path)
		if resp.Cause != nil {
			a.err = cause.FromProto(resp.Cause, codes.InvalidArgument)
		}
	default:
		a.err = ErrRefused.New("the component answered about %s in a way that this version does not know (%s)", r.Artifact.Path, resp.State)
	}
	return a
}

// broke tells an owner that is gone or hangs from one that refuses.
func broke(err error) bool {
	st, ok := status.FromError(err)
	if !ok {
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	}
	switch st.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return false
}

func (s *Service) pauseOwner(o Owner) {
	p := s.pauses[o.Component]
	s.pauses[o.Component] = pause{until: s.now().Add(backoff(p.tries)), tries: p.tries + 1, generation: o.Generation}
}

// answer records what the owner said. The caller holds mu. gone is true if the owner did not answer.
func (s *Service) answer(e *entry, o Owner, do step, a answered, batch uint64) (gone bool) {
	s.dirty = true
	if a.err != nil && broke(a.err) {
		s.pauseOwner(o)
		e.breaks++
		if e.breaks >= maxBreaks {
			e.tried = do.digest
			s.settle(e, Faulty, ErrOwnerBroke.Wrap(a.err, "%s ended or hung %d times while it was given %s", o.Component, e.breaks, e.path))
			return true
		}
		s.settle(e, Pending, ErrOwnerAway.Wrap(a.err, "%s did not answer about %s", o.Component, e.path))
		return true
	}
	delete(s.pauses, o.Component)
	e.tried = do.digest
	var st State
	var why error
	switch {
	case a.err != nil:
		st, why = Faulty, at(cause.From(a.err), e.path)
		if e.inPlace && e.running == do.digest {
			e.running = "" // what it took it no longer takes
		}
	case a.state == controlv1.DeployResponse_STATE_WAITING:
		st, why = Waiting, ErrWaits.New("%s waits for %s", e.path, strings.Join(a.waitsFor, ", "))
		if len(a.waitsFor) == 0 {
			e.running, e.good, e.parked = do.digest, do.digest, true
			why = cause.FromProto(a.why, codes.FailedPrecondition) // not for another artifact
		} else if e.typ == AppType && a.why != nil {
			why = cause.FromProto(a.why, codes.FailedPrecondition)
		}
		e.parked = e.parked || e.running == do.digest
		s.need(e, a.waitsFor)
		if len(a.waitsFor) > 0 && s.allOffered(a.waitsFor) {
			// The offer is known, but not to the owner yet: ask again.
			e.retryAt = s.now().Add(backoff(e.retries))
			e.retries++
		}
	default:
		e.running, e.good, e.parked, e.retries, e.retryAt = do.digest, do.digest, false, 0, time.Time{}
		if do.digest == e.digest {
			e.breaks = 0
		}
		s.need(e, a.waitsFor)
		s.offer(e, append(a.offers, e.typ+":"+e.name))
		if do.action == update {
			s.wakeRefused(e, batch)
		}
		e.notice = noticeOf(a)
		st, why = Deployed, nil
		if e.typ == AppType {
			st, why = s.appState(e, st, why)
		}
	}
	if !e.absent && e.problem == nil && do.digest == e.digest {
		s.settle(e, st, why)
	} else if st, why := e.rest(); !e.absent {
		s.settle(e, st, why)
	}
	return false
}

// at gives a cause the artifact's path where it names no file.
func at(e *cause.Error, p string) *cause.Error {
	if file, line, column := e.Position(); file == "" {
		e.At(p, line, column)
	}
	return e
}

// takeBack undeploys an artifact whose file is gone.
func (s *Service) takeBack(ctx context.Context, o Owner, e *entry, r *controlv1.DeployRequest, batch uint64) bool {
	a := s.announced(ctx, OperationUndeploy, o.Component, o.Client.Undeploy, r)
	if ctx.Err() != nil {
		return false
	}
	s.mu.Lock()
	gone := a.err != nil && broke(a.err)
	switch {
	case !e.absent:
		// Put has written it anew; the next round sees to it.
	case gone:
		s.pauseOwner(o)
	case a.err != nil:
		e.retryAt = s.now().Add(backoff(e.retries))
		e.retries++
		s.settle(e, Faulty, ErrStillRuns.Wrap(a.err, "%s is gone, but %s did not let go of it", e.path, o.Component))
	default:
		delete(s.pauses, o.Component)
		s.drop(e)
		e.state = Pending
		s.wakeRefused(e, batch)
	}
	s.unlockAndTell(e)
	return !gone
}

// find gives the present state of an owner.
func (s *Service) find(component string) (Owner, bool) {
	for _, o := range s.takers() {
		if o.Component == component {
			return o, true
		}
	}
	return Owner{}, false
}
