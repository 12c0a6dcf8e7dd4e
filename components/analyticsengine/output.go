package analyticsengine

import (
	"google.golang.org/grpc"

	"carbonado.dev/carbonado/components/analyticsengine/sparksql"
	"carbonado.dev/carbonado/components/analyticsengine/statement"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// grpcOutput sends a run's events over Execute's stream.
type grpcOutput struct {
	stream    grpc.ServerStreamingServer[analyticsv1.ExecuteResponse]
	statement int
	result    *arrowSink
}

func (o *grpcOutput) send(r *analyticsv1.ExecuteResponse) error {
	r.Statement = int32(o.statement)
	return o.stream.Send(r)
}

func (o *grpcOutput) started(n int, st *sparksql.Statement) error {
	o.statement, o.result = n, nil
	return o.send(&analyticsv1.ExecuteResponse{Event: &analyticsv1.ExecuteResponse_Started{Started: &analyticsv1.StatementStarted{
		Sql: st.SQL, Kind: st.Kind, Line: int32(st.Pos.Line),
	}}})
}

func (o *grpcOutput) sink(int) statement.Sink {
	o.result = &arrowSink{send: func(piece []byte) error {
		return o.send(&analyticsv1.ExecuteResponse{Event: &analyticsv1.ExecuteResponse_ArrowIpc{ArrowIpc: piece}})
	}}
	return o.result
}

func (o *grpcOutput) finished(_ int, done finish) error {
	if o.result != nil {
		if err := o.result.close(); err != nil {
			return err
		}
	}
	return o.send(&analyticsv1.ExecuteResponse{Event: &analyticsv1.ExecuteResponse_Finished{Finished: &analyticsv1.StatementFinished{
		Rows: done.rows, ElapsedMs: done.elapsed.Milliseconds(), Truncated: done.truncated,
	}}})
}
