package eventsink

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	"carbonado.dev/sdk/databridge/streamdef"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// deployPatience bounds a deployment: with the store away for longer, the artifact waits instead of the kernel.
const deployPatience = 3 * time.Second

// Validate implements component.Deployer.
func (s *sink) Validate(_ context.Context, a *component.Artifact) error {
	_, err := s.check(a)
	return err
}

// check reads a file and refuses a table that another file has.
func (s *sink) check(a *component.Artifact) (*definition, error) {
	d, err := parse(a.Path, a.Name, a.Content)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.byTable[d.table]; have != nil && have.file != a.Name {
		return nil, ErrDuplicate.New("the sink of table %s is defined by eventsink/%s.xml", d.table, have.file).At(a.Path, 0, 0)
	}
	return d, nil
}

// Deploy implements component.Deployer: table, schema, bindings, and only then consumers.
func (s *sink) Deploy(ctx context.Context, a *component.Artifact) error {
	ctx, cancel := context.WithTimeout(ctx, deployPatience)
	defer cancel()
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	d, err := s.check(a)
	if err != nil {
		return err
	}
	for _, n := range d.notices {
		s.log.Warn("passed over in an event sink", "text", n)
	}
	streams, missing, err := s.definitions(ctx, d.streams)
	if err != nil {
		return s.failed(err, a, "stream definitions of table %s", d.table)
	}
	if len(missing) > 0 {
		s.withdraw(ctx, a.Name)
		return component.WaitFor(missing...)
	}
	if err := s.table(ctx, d); err != nil {
		return s.failed(err, a, "table %s", d.table)
	}
	for _, stream := range streams {
		if err := s.bind(ctx, d, stream); err != nil {
			return s.failed(err, a, "stream %s to table %s", stream.ID(), d.table)
		}
	}
	s.install(ctx, a.Name, d, streams)
	a.Offer("eventsink:"+d.table, "table:"+d.table)
	s.log.Info("deployed an event sink", "table", d.table, "streams", d.streams)
	return nil
}

// Update implements component.Deployer.
func (s *sink) Update(ctx context.Context, a *component.Artifact) error { return s.Deploy(ctx, a) }

// Undeploy implements component.Deployer: streams are no longer taken; table and data stay.
func (s *sink) Undeploy(ctx context.Context, a *component.Artifact) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	s.withdraw(ctx, a.Name)
	return nil
}

// failed turns a call's error into the artifact's: away for the moment is waiting, all else a fault.
func (s *sink) failed(err error, a *component.Artifact, format string, args ...any) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		s.log.Warn("an event sink waits for the store or the receiver", "file", a.Path, "error", cause.From(err).Error())
		return component.WaitFor("service:"+analyticsv1.RecordStore_ServiceDesc.ServiceName, "service:"+analyticsv1.StreamAdmin_ServiceDesc.ServiceName)
	}
	return ErrStore.Wrap(cause.From(err), format, args...).At(a.Path, 0, 0)
}

// definitions asks for the streams, and names the artifacts that those missing wait for.
func (s *sink) definitions(ctx context.Context, ids []string) (found []*streamdef.Definition, missing []string, err error) {
	for _, id := range ids {
		resp, err := s.streams.Get(ctx, &analyticsv1.GetStreamRequest{Tenant: s.c.Tenant(), StreamId: id})
		if status.Code(err) == codes.NotFound {
			missing = append(missing, "eventstream:"+id)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		d, err := streamdef.FromProto(resp.GetDefinition())
		if err != nil {
			return nil, nil, err
		}
		found = append(found, d)
	}
	return found, missing, nil
}

// table makes the table, or brings its schema to what the file says: the union with what is there, or that alone.
func (s *sink) table(ctx context.Context, d *definition) error {
	tenant := s.c.Tenant()
	_, err := s.store.GetTable(ctx, &analyticsv1.GetTableRequest{Tenant: tenant, Table: d.table})
	if status.Code(err) == codes.NotFound {
		_, err = s.store.CreateTable(ctx, &analyticsv1.CreateTableRequest{Tenant: tenant, Table: d.table, Store: d.store, Schema: d.schema, IfNotExists: true})
		if err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	_, err = s.store.SetSchema(ctx, &analyticsv1.SetSchemaRequest{Tenant: tenant, Table: d.table, Schema: d.schema, Merge: d.merge})
	return err
}

// install takes the streams of a sink that the store knows. Streams that the file's last version had go on without a gap.
func (s *sink) install(ctx context.Context, file string, d *definition, streams []*streamdef.Definition) {
	next := &deployment{file: file, def: d, bound: map[string]*streamdef.Definition{}, taking: map[string]*component.Consumption{}}
	s.mu.Lock()
	old := s.byFile[file]
	for _, stream := range streams {
		next.bound[stream.ID()] = stream
		next.taking[stream.ID()] = component.ConsumeFrames(s.c, stream.ID(), true, s.take)
	}
	s.byFile[file], s.byTable[d.table] = next, next
	if old != nil && old.def.table != d.table {
		delete(s.byTable, old.def.table)
	}
	s.mu.Unlock()
	if old == nil {
		return
	}
	for id, consumption := range old.taking {
		if !slices.Contains(d.streams, id) {
			consumption.Close()
			s.unbind(ctx, id, old.def.table)
		}
	}
}

// withdraw ends a sink; an unknown file is no error.
func (s *sink) withdraw(ctx context.Context, file string) {
	s.mu.Lock()
	dep := s.byFile[file]
	delete(s.byFile, file)
	if dep != nil {
		delete(s.byTable, dep.def.table)
	}
	s.mu.Unlock()
	if dep == nil {
		return
	}
	for id, consumption := range dep.taking {
		consumption.Close()
		s.unbind(ctx, id, dep.def.table)
	}
}

func (s *sink) unbind(ctx context.Context, stream, table string) {
	if _, err := s.store.Unbind(ctx, &analyticsv1.StoreUnbindRequest{Tenant: s.c.Tenant(), Stream: stream, Table: table}); err != nil {
		// The binding stays in the log without frames; the next deployment of the sink replaces it.
		s.log.Warn("a binding could not be withdrawn", "stream", stream, "table", table, "error", cause.From(err).Error())
	}
}
