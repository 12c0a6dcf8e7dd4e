package dev.carbonado.sdk;

import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the component has published and how it feels; tells those that watch. */
public final class Events {
  private final Map<Long, Wire> live = new LinkedHashMap<>();
  private final List<StreamObserver<byte[]>> watchers = new ArrayList<>();
  private long next;
  private int health = 1; // UNKNOWN
  private Wire cause;

  /** One published service. */
  public final class Registration {
    private final long id;

    private Registration(long id) {
      this.id = id;
    }

    /** Ends it; twice is no error. */
    public void withdraw() {
      synchronized (Events.this) {
        if (live.remove(id) != null) {
          tell(Wire.message().message(2, Wire.message().number(1, id)));
        }
      }
    }
  }

  synchronized Registration publish(String service, Map<String, String> properties) {
    long id = ++next;
    Wire published = Wire.message().number(1, id).string(2, service).map(4, properties);
    live.put(id, published);
    tell(Wire.message().message(1, published));
    return new Registration(id);
  }

  synchronized void withdrawAll() {
    for (long id : new ArrayList<>(live.keySet())) {
      new Registration(id).withdraw();
    }
  }

  synchronized void health(int h, Wire why) {
    health = h;
    cause = why;
    tell(healthChanged());
  }

  synchronized boolean healthUnknown() {
    return health == 1;
  }

  private Wire healthChanged() {
    Wire w = Wire.message().number(1, health);
    if (cause != null) {
      w.message(2, cause);
    }
    return Wire.message().message(3, w);
  }

  synchronized void watch(StreamObserver<byte[]> to) {
    ((ServerCallStreamObserver<byte[]>) to).setOnCancelHandler(() -> {
      synchronized (this) {
        watchers.remove(to);
      }
    });
    to.onNext(healthChanged().done());
    for (Wire p : live.values()) {
      to.onNext(Wire.message().message(1, p).done());
    }
    to.onNext(Wire.message().message(4, Wire.message()).done()); // Synced
    watchers.add(to);
  }

  private void tell(Wire event) {
    byte[] b = event.done();
    watchers.removeIf(w -> {
      try {
        w.onNext(b);
        return false;
      } catch (RuntimeException e) {
        return true; // it has gone
      }
    });
  }
}
