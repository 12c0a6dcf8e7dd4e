package dev.carbonado.sdk;

/** What an author writes. Each method is called once per life, in this order; after release, acquire may be called again. */
public interface Component {
  /** Makes objects and registers services, references and consumers; takes nothing that only one process may hold. */
  void prepare(Context c) throws Exception;

  /** Takes exclusive resources and begins to serve. */
  default void acquire() throws Exception {}

  /** Ends what is under way within the deadline. */
  default void drain(long deadlineMillis) throws Exception {}

  /** Lets go of exclusive resources. */
  default void release() throws Exception {}

  /** The last call before the process ends. */
  default void stop() throws Exception {}
}
