package receivers

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"carbonado.dev/carbonado/components/eventreceiver/catalog"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

const (
	// adapterPatience is how long a deployment waits for the receiver's adapter before it says that it waits.
	adapterPatience = 2 * time.Second
	// endPatience is how long an adapter may take to end a receiver's call after it was asked to.
	endPatience = 3 * time.Second
)

// Host is what the set needs of its component.
type Host struct {
	Log hclog.Logger
	// Context ends with the component.
	Context  context.Context
	Tenant   int32
	Streams  *catalog.Catalog
	Adapters *component.Refs
	// Store stores events; nil means that all are on disk.
	Store func(context.Context, *databridge.Rows) error
}

// Set is the deployed receivers. It is the deployer of their files and safe for concurrent use.
type Set struct {
	host Host

	// mu guards all below.
	mu      sync.Mutex
	byFile  map[string]*running
	byName  map[string]*running
	bounds  []*component.Bound
	changed chan struct{} // closed and renewed when adapters change
	closed  bool
}

// running is a deployed receiver.
type running struct {
	def  *definition
	file string
	// finish takes no more messages and asks the adapter to end the call; cancel cuts it.
	finish, cancel context.CancelFunc
	done           chan struct{}
	ready          chan struct{} // closed when the adapter listened for the first time
}

// New makes an empty set.
func New(h Host) *Set {
	return &Set{host: h, byFile: map[string]*running{}, byName: map[string]*running{}, changed: make(chan struct{})}
}

// Run follows the adapters until ctx ends.
func (s *Set) Run(ctx context.Context) {
	s.host.Adapters.Watch(ctx, func(bounds []*component.Bound) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.bounds = bounds
		close(s.changed)
		s.changed = make(chan struct{})
	})
}

// Close takes no more messages, lets those under way have their outcomes until ctx ends, and ends all receivers.
func (s *Set) Close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	all := s.byFile
	s.byFile, s.byName = map[string]*running{}, map[string]*running{}
	s.mu.Unlock()
	for _, r := range all {
		r.finish()
	}
	for _, r := range all {
		r.end(ctx)
	}
}

// end ends the receiver: messages under way have their outcomes, if that comes to an end before ctx.
func (r *running) end(ctx context.Context) {
	r.finish()
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	r.cancel()
	<-r.done
}

// adapter finds the adapter of a type, and a channel that is closed when adapters change.
func (s *Set) adapter(typ string) (*component.Bound, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bounds {
		if b.Properties()["adapter.type"] == typ {
			return b, s.changed
		}
	}
	return nil, s.changed
}

// Validate implements component.Deployer.
func (s *Set) Validate(_ context.Context, a *component.Artifact) error {
	_, err := s.check(a)
	return err
}

// check reads a file and refuses a name that another file has.
func (s *Set) check(a *component.Artifact) (*definition, error) {
	d, err := parse(a.Path, a.Content)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.byName[d.name]; have != nil && have.file != a.Name {
		return nil, ErrDuplicate.New("receiver %s is defined by eventreceivers/%s.xml", d.name, have.file).At(a.Path, 0, 0)
	}
	return d, nil
}

// Deploy implements component.Deployer.
func (s *Set) Deploy(ctx context.Context, a *component.Artifact) error {
	d, err := s.check(a)
	if err != nil {
		return err
	}
	for _, n := range d.notices {
		s.host.Log.Warn("passed over in an event receiver", "text", n)
	}
	if _, err := s.host.Streams.Get(d.stream); err != nil {
		s.remove(a.Name)
		return component.WaitFor("eventstream:" + d.stream)
	}
	s.remove(a.Name)
	r := s.start(d, a.Name)
	if r == nil {
		return ErrAdapter.New("receiver %s: the component stops", d.name)
	}
	wait, cancel := context.WithTimeout(ctx, adapterPatience)
	defer cancel()
	select {
	case <-r.ready:
		a.Offer("eventreceiver:" + d.name)
		return nil
	case <-wait.Done():
	}
	// It goes on trying: events flow as soon as the adapter is there.
	return component.WaitFor("eventstream:"+d.stream, "service:"+analyticsv1.InputAdapter_ServiceDesc.ServiceName+"?adapter.type="+d.adapter)
}

// Update implements component.Deployer.
func (s *Set) Update(ctx context.Context, a *component.Artifact) error { return s.Deploy(ctx, a) }

// Undeploy implements component.Deployer.
func (s *Set) Undeploy(_ context.Context, a *component.Artifact) error {
	s.remove(a.Name)
	return nil
}

func (s *Set) start(d *definition, file string) *running {
	ctx, cancel := context.WithCancel(s.host.Context)
	open, finish := context.WithCancel(ctx)
	r := &running{def: d, file: file, finish: finish, cancel: cancel, done: make(chan struct{}), ready: make(chan struct{})}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		cancel()
		return nil
	}
	s.byFile[file], s.byName[d.name] = r, r
	s.mu.Unlock()
	go func() {
		defer close(r.done)
		s.run(ctx, open, r)
	}()
	return r
}

func (s *Set) remove(file string) {
	s.mu.Lock()
	r := s.byFile[file]
	delete(s.byFile, file)
	if r != nil {
		delete(s.byName, r.def.name)
	}
	s.mu.Unlock()
	if r != nil {
		ctx, cancel := context.WithTimeout(s.host.Context, endPatience)
		defer cancel()
		r.end(ctx)
	}
}

// run keeps the receiver's call to its adapter open until open ends.
func (s *Set) run(ctx, open context.Context, r *running) {
	if r.def.adapter == wso2event {
		// Thrift brings the stream's events without it; the file says that it is meant to.
		close(r.ready)
		<-open.Done()
		return
	}
	pause := 50 * time.Millisecond
	for open.Err() == nil {
		b, changed := s.adapter(r.def.adapter)
		if b == nil {
			select {
			case <-changed:
			case <-open.Done():
			}
			continue
		}
		began := time.Now()
		err := s.serve(ctx, open, r, b)
		if errors.Is(err, io.EOF) { // the adapter ended it in order
			pause = 50 * time.Millisecond
		} else if err != nil && open.Err() == nil {
			s.host.Log.Warn("a receiver's call to its adapter ended; it is opened again", "receiver", r.def.name, "adapter", r.def.adapter, "error", cause.From(err).Error())
		}
		if time.Since(began) > time.Minute {
			pause = 50 * time.Millisecond
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 5*time.Second)
		case <-changed:
		case <-open.Done():
		}
	}
}
