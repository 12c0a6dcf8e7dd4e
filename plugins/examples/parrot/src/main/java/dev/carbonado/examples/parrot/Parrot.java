package dev.carbonado.examples.parrot;

import dev.carbonado.sdk.Bytes;
import dev.carbonado.sdk.Carbonado;
import dev.carbonado.sdk.Component;
import dev.carbonado.sdk.Consumers;
import dev.carbonado.sdk.Context;
import dev.carbonado.sdk.Problem;
import dev.carbonado.sdk.Reference;
import dev.carbonado.sdk.Wire;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.arrow.vector.FieldVector;

/** A component in Java: provides Greeter, uses the receiver's StreamAdmin, and consumes a stream of greetings. */
public final class Parrot implements Component {
  static final String STREAM = "org.acme.greetings:1.0.0";

  private final AtomicLong heard = new AtomicLong();
  private volatile String last = "";
  private Context context;
  private Reference streams;

  public static void main(String[] args) {
    Carbonado.main(new Parrot());
  }

  @Override
  public void prepare(Context c) {
    context = c;
    streams = c.reference("streams");
    c.provide(ServerServiceDefinition.builder("acme.greet.v1.Greeter")
        .addMethod(Bytes.unary("acme.greet.v1.Greeter/Greet"), ServerCalls.asyncUnaryCall(this::greet))
        .build());
    c.consume(STREAM, false, this::hear);
  }

  @Override
  public void acquire() {
    // The receiver may come later: the definition is made when it is there.
    Thread t = new Thread(this::define, "define");
    t.setDaemon(true);
    t.start();
  }

  /** Defines the stream, an idempotent call of a component written in Go. */
  private void define() {
    Wire definition = Wire.message().string(1, "org.acme.greetings").string(2, "1.0.0").string(9, "none")
        .message(8, Wire.message().string(1, "name").string(2, "string"));
    byte[] request = Wire.message().number(1, -1234).message(2, definition).done();
    try {
      streams.call("carbonado.analytics.v1.StreamAdmin/Define", request, Duration.ofMinutes(1), true);
      context.log().info("the stream is defined", "stream", STREAM);
    } catch (RuntimeException e) {
      context.log().warn("the stream can't be defined", "stream", STREAM, "error", e.getMessage());
    }
  }

  private void greet(byte[] request, StreamObserver<byte[]> out) {
    String name = Wire.read(request).string(1);
    if (name.isEmpty()) {
      throw new Problem(Status.Code.INVALID_ARGUMENT, "ACME-PARROT-001", "the name is empty", "Give a name.");
    }
    String text = context.config().get("word") + ", " + name + " (heard " + heard.get() + (last.isEmpty() ? "" : ", last " + last) + ")";
    out.onNext(Wire.message().string(1, text).done());
    out.onCompleted();
  }

  private void hear(Consumers.Batch b) {
    FieldVector names = b.rows().getVector("name");
    if (names == null) {
      throw new Problem(Status.Code.INVALID_ARGUMENT, "ACME-PARROT-002", b.stream() + " has no attribute name", "Define it with one.");
    }
    int n = b.rows().getRowCount();
    if (n > 0) {
      last = String.valueOf(names.getObject(n - 1));
    }
    heard.addAndGet(n);
  }
}
