// Package analyticsengine is the component AnalyticsEngine: it runs Spark SQL scripts on DuckDB over the record store's segments.
// It must not know schedules, stored scripts or who shows results.
package analyticsengine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	"carbonado.dev/carbonado/components/analyticsengine/worker"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// The kinds of errors of the component itself.
var (
	// ErrTenant is a request for another tenant than carbon.super.
	ErrTenant = cause.Define("CBN-SQL-040", "There is one tenant, -1234 (carbon.super).", "Ask for tenant -1234.").Code(codes.InvalidArgument)
	// ErrReadOnly is a statement that writes in a request that may only read.
	ErrReadOnly = cause.Define("CBN-SQL-041", "Only SELECT is allowed here.", "Run writing statements as a script.").Code(codes.PermissionDenied)
	// ErrBusy is a statement that found no place in time.
	ErrBusy = cause.Define("CBN-SQL-042", "Too many statements are running.", "Wait, or raise the setting statements of AnalyticsEngine.").Code(codes.ResourceExhausted)
	// ErrNoSchema is a table that can't be read because nobody declared its columns.
	ErrNoSchema = cause.Define("CBN-SQL-043", "The table has no schema.", "Give the option schema at CREATE TEMPORARY TABLE.")
	// ErrColumns is an INSERT whose SELECT doesn't have the table's columns.
	ErrColumns = cause.Define("CBN-SQL-044", "The SELECT of an INSERT doesn't fit the table's columns.",
		"INSERT is positional: give every column in the order of the schema.").Code(codes.InvalidArgument)
	// ErrStaging is staged data that can't be written.
	ErrStaging = cause.Define("CBN-SQL-045", "The result can't be staged for the store.", "Look at disk and permissions of the store's staging folder.")
	// ErrPermission is a caller without the permission.
	ErrPermission = cause.Define("CBN-SQL-046", "The permission is missing.", "Ask an administrator for "+permission+".").Code(codes.PermissionDenied)
	// ErrRequest is an HTTP request that can't be read.
	ErrRequest = cause.Define("CBN-SQL-047", "The request can't be read.", `Send JSON: {"sql": "SELECT …"}.`).Code(codes.InvalidArgument)
	// ErrIncremental is a wrong use of incremental ids.
	ErrIncremental = cause.Define("CBN-SQL-048", "The incremental state can't be used.", "See INCREMENTAL_TABLE_SHOW.")
	// ErrZone is a time zone that is not known.
	ErrZone = cause.Define("CBN-SQL-049", "The time zone is not known.", "Set timeZone to an IANA name, for example Europe/Berlin.").Code(codes.InvalidArgument)
)

// checkMemory bounds the database of a check.
const checkMemory = 32 << 20

// permission is what a person needs to run SQL.
const permission = "/permission/admin/manage/analytics"

// config is component.yaml's config.
type config struct {
	MemoryMiB      int64  `json:"memoryMiB"`
	Threads        int    `json:"threads"`
	Statements     int    `json:"statements"`
	TimeoutSeconds int    `json:"timeoutSeconds"`
	ResultRows     int64  `json:"resultRows"`
	MaxResultRows  int64  `json:"maxResultRows"`
	SpillMiB       int64  `json:"spillMiB"`
	TimeZone       string `json:"timeZone"`
}

// Options are the component's verbs on the command line.
var Options = []component.Option{component.CLI("query", "Run SQL and print the result.", runQuery)}

// Start makes the component. Its package holds the executable that runs statements.
func Start(c *component.C) error {
	return start(c, filepath.Join(c.PackageFolder(), "bin", worker.Name))
}

// StartWith makes the component with another executable that runs statements, as tests do.
func StartWith(executable string) func(*component.C) error {
	return func(c *component.C) error { return start(c, executable) }
}

func start(c *component.C, executable string) error {
	var cfg config
	if err := c.Config(&cfg); err != nil {
		return err
	}
	zone, err := zoneOf(cfg.TimeZone)
	if err != nil {
		return err
	}
	if cfg.MemoryMiB == 0 {
		cfg.MemoryMiB = 256
		if m := c.MemoryLimit(); m > 0 {
			cfg.MemoryMiB = m >> 21
		}
	}
	e := &Engine{
		c: c, cfg: cfg,
		store:    analyticsv1.NewRecordStoreClient(c.Ref("store")),
		state:    kernelv1.NewCoordinatorClient(c.Kernel()),
		segments: c.Share("DataService/segments"),
		staging:  c.Share("DataService/staging"),
		places:   make(chan struct{}, cfg.Statements),
		checking: make(chan struct{}, 1),
		open:     openTransactions{filepath.Join(c.DataFolder(), "open")},
		limits: statement.Limits{
			Memory:  cfg.MemoryMiB << 20 / int64(cfg.Statements),
			Threads: cfg.Threads, SpillMax: cfg.SpillMiB << 20, Zone: zone,
		},
	}
	if cfg.SpillMiB > 0 {
		e.limits.Spill = filepath.Join(c.DataFolder(), "spill")
	}
	if e.workers, err = worker.NewPool(executable, e.limits.Spill); err != nil {
		return err
	}
	analyticsv1.RegisterEngineServer(c, e)
	component.ServeHTTP(c, "/engine", e.handler())
	return nil
}

// zoneOf finds a zone by its IANA name; empty is the server's.
func zoneOf(name string) (*time.Location, error) {
	if name == "" {
		name = os.Getenv("TZ")
	}
	if name == "" {
		if link, err := os.Readlink("/etc/localtime"); err == nil {
			_, name, _ = strings.Cut(link, "zoneinfo/")
		}
	}
	if name == "" || name == "Local" {
		return time.UTC, nil
	}
	zone, err := time.LoadLocation(strings.TrimPrefix(name, ":"))
	if err != nil {
		return nil, ErrZone.Wrap(err, "time zone %q", name)
	}
	return zone, nil
}

// Engine serves analyticsv1.Engine. It is safe for concurrent use.
type Engine struct {
	analyticsv1.UnimplementedEngineServer
	c        *component.C
	cfg      config
	store    analyticsv1.RecordStoreClient
	state    kernelv1.CoordinatorClient
	segments string
	staging  string
	limits   statement.Limits
	// places holds one token for each statement that runs.
	places chan struct{}
	// checking holds a token while a script is checked.
	checking chan struct{}
	open     openTransactions
	// workers are the processes that run statements.
	workers *worker.Pool
}

// Stop ends the processes that run statements.
func (e *Engine) Stop(context.Context) error { return e.workers.Close() }

// Prepare makes the component's folders, and empties the one for spilled data: whatever is there is of a process that is gone.
func (e *Engine) Prepare(context.Context) error {
	if err := os.MkdirAll(e.open.folder, 0o700); err != nil {
		return ErrStaging.Wrap(err, "folder of open transactions")
	}
	if e.limits.Spill == "" {
		return nil
	}
	if err := os.RemoveAll(e.limits.Spill); err != nil {
		return statement.ErrEngine.Wrap(err, "folder for spilled data")
	}
	if err := os.MkdirAll(e.limits.Spill, 0o700); err != nil {
		return statement.ErrEngine.Wrap(err, "folder for spilled data")
	}
	return nil
}

// enter waits for a place among the running statements; leave gives it back.
func (e *Engine) enter(ctx context.Context) (leave func(), err error) {
	select {
	case e.places <- struct{}{}:
		return func() { <-e.places }, nil
	case <-ctx.Done():
		return nil, ErrBusy.New("no place was free in time; %d statements run at once", e.cfg.Statements)
	}
}

// Execute runs a script.
func (e *Engine) Execute(req *analyticsv1.ExecuteRequest, stream grpc.ServerStreamingServer[analyticsv1.ExecuteResponse]) error {
	if req.Tenant != e.c.Tenant() {
		return ErrTenant.New("tenant %d", req.Tenant)
	}
	out := &grpcOutput{stream: stream}
	if err := e.run(stream.Context(), req, out); err != nil {
		if stream.Context().Err() != nil {
			return cause.From(err)
		}
		return stream.Send(&analyticsv1.ExecuteResponse{Statement: int32(out.statement), Event: &analyticsv1.ExecuteResponse_Failed{Failed: cause.Proto(err)}})
	}
	return nil
}

// Check parses a script and walks over its queries with DuckDB's parser. Whether tables and columns exist only shows when it runs.
func (e *Engine) Check(ctx context.Context, req *analyticsv1.CheckRequest) (*analyticsv1.CheckResponse, error) {
	sts, errs := sparksql.ParseAll(req.Script)
	resp := &analyticsv1.CheckResponse{Statements: int32(len(sts))}
	add := func(err error) { resp.Causes = append(resp.Causes, cause.Proto(err)) }
	for _, err := range errs {
		add(err)
	}
	var queries []*sparksql.Rewritten
	for _, st := range sts {
		if st.Query == nil {
			continue
		}
		q, err := st.Query.Rewrite()
		if err != nil {
			add(err)
			continue
		}
		queries = append(queries, q)
	}
	if len(queries) == 0 {
		return resp, nil
	}
	// A check must not wait for statements that run: it has a small database of its own, one at a time.
	select {
	case e.checking <- struct{}{}:
	case <-ctx.Done():
		return nil, ErrBusy.New("other scripts are being checked")
	}
	defer func() { <-e.checking }()
	d, err := e.workers.Open(ctx, statement.Limits{Memory: checkMemory, Threads: 1, Zone: e.limits.Zone})
	if err != nil {
		return nil, err
	}
	defer e.closing(d)
	for _, q := range queries {
		if _, err := d.Check(ctx, q); err != nil {
			add(err)
		}
	}
	return resp, nil
}

// closing ends a statement's database.
func (e *Engine) closing(d statement.Database) {
	if err := d.Close(); err != nil {
		e.c.Log().Warn("a statement's database did not close", "error", err)
	}
}
