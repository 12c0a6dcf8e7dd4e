package dev.carbonado.sdk;

import io.grpc.MethodDescriptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.channels.Channels;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.arrow.memory.BufferAllocator;
import org.apache.arrow.memory.RootAllocator;
import org.apache.arrow.vector.VectorLoader;
import org.apache.arrow.vector.VectorSchemaRoot;
import org.apache.arrow.vector.ipc.ReadChannel;
import org.apache.arrow.vector.ipc.message.ArrowRecordBatch;
import org.apache.arrow.vector.ipc.message.MessageSerializer;

/** The StreamConsumer service of one component: links with credit, acknowledgements and Arrow batches. */
public final class Consumers {
  static final String SERVICE = "carbonado.analytics.v1.StreamConsumer";
  private static final long CREDIT_BYTES = 8 << 20;
  private static final int CREDIT_FRAMES = 64;
  // Off the heap; a link has at most its credit there, decoded one batch at a time.
  private static final BufferAllocator MEMORY = new RootAllocator(256 << 20);

  /** Takes one batch; returning acknowledges it, an exception refuses it. The rows are valid until it returns. */
  public interface Handler {
    void batch(Batch b) throws Exception;
  }

  /** Events of one stream. */
  public record Batch(String stream, Frame header, VectorSchemaRoot rows) {}

  private record Stream(boolean durable, Handler handler) {}

  private final Context context;
  private final Map<String, Stream> streams = new LinkedHashMap<>();

  Consumers(Context context) {
    this.context = context;
  }

  synchronized void add(String stream, boolean durable, Handler f) {
    if (streams.isEmpty()) {
      context.register(ServerServiceDefinition.builder(SERVICE)
          .addMethod(Bytes.method(MethodDescriptor.MethodType.BIDI_STREAMING, SERVICE + "/Consume"), ServerCalls.asyncBidiStreamingCall(Link::new))
          .build());
    }
    streams.put(stream, new Stream(durable, f));
  }

  synchronized void publish() {
    streams.forEach((name, s) -> context.publish(SERVICE, Map.of("stream", name, "durable", String.valueOf(s.durable))));
  }

  private synchronized Stream find(String name) {
    return streams.get(name);
  }

  /** One producer's link. Frames come one at a time, in order. */
  private final class Link implements StreamObserver<byte[]> {
    private final StreamObserver<byte[]> out;
    private final Map<Integer, String> names = new HashMap<>();
    private final Map<Long, Schema> schemas = new HashMap<>();
    private boolean ended;

    private final class Schema {
      final VectorSchemaRoot root;
      final VectorLoader loader;

      Schema(byte[] body) throws IOException {
        root = VectorSchemaRoot.create(MessageSerializer.deserializeSchema(channel(body)), MEMORY);
        loader = new VectorLoader(root);
      }
    }

    Link(StreamObserver<byte[]> out) {
      this.out = out;
      credit(CREDIT_BYTES, CREDIT_FRAMES);
    }

    private static ReadChannel channel(byte[] b) {
      return new ReadChannel(Channels.newChannel(new ByteArrayInputStream(b)));
    }

    private void credit(long bytes, int frames) {
      Frame f = Frame.of(Frame.CREDIT);
      f.body = Wire.message().number(1, bytes).number(2, frames).done();
      out.onNext(f.write());
    }

    @Override
    public void onNext(byte[] bytes) {
      if (ended) {
        return;
      }
      try {
        frame(Frame.read(bytes), bytes.length);
      } catch (Exception e) {
        end();
        out.onError(Status.INTERNAL.withDescription("CBN-LINK-006: " + e.getMessage()).asRuntimeException());
      }
    }

    private void frame(Frame f, int size) throws IOException {
      switch (f.kind) {
        case Frame.OPEN -> names.put(f.stream, Wire.read(f.body).string(2));
        case Frame.SCHEMA -> {
          Schema old = schemas.put(f.schema, new Schema(f.body));
          if (old != null) {
            old.root.close();
          }
        }
        case Frame.CLOSE -> {
          end();
          out.onCompleted();
        }
        case Frame.ACK, Frame.CREDIT, Frame.ERROR -> { } // a consumer sends nothing that is answered
        default -> {
          String name = names.get(f.stream);
          if (name == null) {
            throw new IOException("a frame of stream " + f.stream + " before its OPEN");
          }
          answer(f, deliver(name, f), size);
        }
      }
    }

    /** Gives a batch to its handler; the answer is why it was refused, or null. */
    private Refusal deliver(String name, Frame f) throws IOException {
      Stream s = find(name);
      if (s == null) {
        return new Refusal(new Problem(Status.Code.NOT_FOUND, "CBN-LINK-007", context.name() + " does not consume " + name, ""), true);
      }
      if (f.kind != Frame.BATCH) {
        return null;
      }
      Schema schema = schemas.get(f.schema);
      if (schema == null) {
        throw new IOException("a batch of " + name + " before its SCHEMA");
      }
      try (ArrowRecordBatch batch = MessageSerializer.deserializeRecordBatch(channel(f.body), MEMORY)) {
        schema.loader.load(batch);
        s.handler.batch(new Batch(name, f, schema.root));
        return null;
      } catch (Exception e) {
        return new Refusal(e, false);
      } finally {
        schema.root.clear();
      }
    }

    private record Refusal(Exception why, boolean retry) {}

    private void answer(Frame f, Refusal r, int size) {
      Frame a = Frame.of(r == null ? Frame.ACK : Frame.ERROR);
      a.linkSeq = f.linkSeq;
      if (r != null) {
        a.body = Wire.message().message(1, Problem.causeOf(r.why)).flag(2, r.retry).done();
      }
      out.onNext(a.write());
      credit(size, 1);
    }

    private void end() {
      ended = true;
      schemas.values().forEach(s -> s.root.close());
      schemas.clear();
    }

    @Override
    public void onError(Throwable t) {
      end();
    }

    @Override
    public void onCompleted() {
      end();
      out.onCompleted();
    }
  }
}
