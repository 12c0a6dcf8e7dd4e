// Package analyticsexecution is the component AnalyticsExecution: scripts as files, their schedules, runs and history. It must not
// know SQL or any engine beyond the contract Engine.
package analyticsexecution

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	kernelv1 "carbonado.dev/sdk/proto/carbonado/kernel/v1"
)

// The kinds of errors of the component.
var (
	// ErrFile is a script's file that can't be read as one.
	ErrFile = cause.Define("CBN-SCR-002", "The file is no analytics script.",
		"Write <Analytics><Name>…</Name><Script>…</Script><CronExpression>…</CronExpression></Analytics>.").Code(codes.InvalidArgument)
	// ErrNoScript is a name that no script has.
	ErrNoScript = cause.Define("CBN-SCR-003", "There is no such script.", "See `carbonado script ls`.").Code(codes.NotFound)
	// ErrRunning is a script that runs already, here or on another node.
	ErrRunning = cause.Define("CBN-SCR-004", "The script is running already.", "Wait for its end, or cancel it.").Code(codes.Aborted)
	// ErrNoEngine is a run that found no engine on this node.
	ErrNoEngine = cause.Define("CBN-SCR-005", "No analytics engine is to be had.",
		"Enable AnalyticsEngine on this node, or see `carbonado component diag AnalyticsEngine`.").Code(codes.Unavailable)
	// ErrLost is a run whose process or lease went away.
	ErrLost = cause.Define("CBN-SCR-006", "The run was lost.", "It is repeated at its next time; what it had committed stays.")
	// ErrCancelled is a run that was cancelled.
	ErrCancelled = cause.Define("CBN-SCR-007", "The run was cancelled.", "").Code(codes.Canceled)
	// ErrTenant is a request for another tenant than carbon.super.
	ErrTenant = cause.Define("CBN-SCR-008", "There is one tenant, -1234 (carbon.super).", "Ask for tenant -1234.").Code(codes.InvalidArgument)
	// ErrNotEditable is a change of a script that its file protects.
	ErrNotEditable = cause.Define("CBN-SCR-009", "The script is not editable.", "Change its file or the application that brought it.")
	// ErrName is a name that no file can have.
	ErrName = cause.Define("CBN-SCR-010", "The script's name is wrong.", "Use letters, digits, dots, dashes and underscores, at most 100.").Code(codes.InvalidArgument)
	// ErrHistory is a history of runs that can't be kept.
	ErrHistory = cause.Define("CBN-SCR-011", "The history of runs can't be written.", "Look at disk and permissions of the component's data folder.")
	// ErrPermission is a caller without the permission.
	ErrPermission = cause.Define("CBN-SCR-012", "The permission is missing.", "Ask an administrator for "+permission+".").Code(codes.PermissionDenied)
	// ErrRequest is an HTTP request that can't be read.
	ErrRequest = cause.Define("CBN-SCR-013", "The request can't be read.", `Send JSON: {"script": "…", "cron": "…"}.`).Code(codes.InvalidArgument)
	// ErrStopping is a run that found the component stopping.
	ErrStopping = cause.Define("CBN-SCR-014", "The component is stopping.", "Try again when it runs.").Code(codes.Unavailable)
	// ErrZone is a time zone that is not known.
	ErrZone = cause.Define("CBN-SCR-015", "The time zone is not known.", "Set timeZone to an IANA name, for example Europe/Berlin.").Code(codes.InvalidArgument)
	// ErrEngineLost is a run during which the engine's process ended, again and again.
	ErrEngineLost = cause.Define("CBN-SCR-017", "The analytics engine ended during the run.",
		"See `carbonado component history AnalyticsEngine`; a statement may need more memory than the process has.").Code(codes.Unavailable)
	// ErrTooLong is a run beyond runMinutes.
	ErrTooLong = cause.Define("CBN-SCR-016", "The run took longer than allowed.", "Raise runMinutes of AnalyticsExecution, or read less.").Code(codes.DeadlineExceeded)
)

// permission is what a person needs to see and run scripts.
const permission = "/permission/admin/manage/analytics"

// config is component.yaml's config.
type config struct {
	TimeZone     string `json:"timeZone"`
	RunMinutes   int    `json:"runMinutes"`
	LeaseSeconds int    `json:"leaseSeconds"`
	HistoryRuns  int    `json:"historyRuns"`
}

// Options are the component's verbs on the command line.
var Options = []component.Option{component.CLI("script", "List, run and look at analytics scripts.", runScript)}

// Start makes the component.
func Start(c *component.C) error {
	var cfg config
	if err := c.Config(&cfg); err != nil {
		return err
	}
	zone, err := zoneOf(cfg.TimeZone)
	if err != nil {
		return err
	}
	engine := c.Ref("engine")
	b := make([]byte, 8)
	if _, err := rand.Read(b); err != nil {
		return ErrLost.Wrap(err, "name of the process")
	}
	r := &runner{
		engine: analyticsv1.NewEngineClient(engine), bound: engine.Bound, coordinator: kernelv1.NewCoordinatorClient(c.Kernel()),
		tenant: c.Tenant(), holder: c.NodeID() + "/" + hex.EncodeToString(b), lease: time.Duration(cfg.LeaseSeconds) * time.Second, log: c.Log(),
	}
	s := &Service{
		log: c.Log(), tenantID: c.Tenant(), runner: r, artifacts: kernelv1.NewArtifactsClient(c.Kernel()), zone: zone,
		historyPath: filepath.Join(c.DataFolder(), "runs.jsonl"), keep: cfg.HistoryRuns,
		longest: time.Duration(cfg.RunMinutes) * time.Minute,
		scripts: map[string]*script{}, wake: make(chan struct{}, 1),
	}
	analyticsv1.RegisterScriptsServer(c, s)
	c.Deploys("sparkscript", deployer{s})
	component.ServeHTTP(c, "/scripts", s.handler())
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

// Acquire opens the history and starts the schedule.
func (s *Service) Acquire(context.Context) error {
	h, err := openHistory(s.historyPath, s.keep)
	if err != nil {
		return err
	}
	s.start(h)
	return nil
}

// Drain starts no more runs, gives those under way half of the time that is left, and cancels them then.
func (s *Service) Drain(ctx context.Context) error { return s.drain(ctx) }

// Release ends the schedule and closes the history.
func (s *Service) Release(ctx context.Context) error { return s.release(ctx) }
