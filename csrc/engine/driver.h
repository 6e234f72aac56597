// The driver joins the pure scheduler with real lanes, readers, images and time.
//
// Threads. One mutex around the scheduler and the books that follow it; events come from any
// thread. Commands to lanes go through an outbox that one thread at a time empties, in order and
// with no lock held: a lane may report from inside `start`, nothing recurses.
//
// Without memory a report of a lane may cost its call, and what cannot be written down in the books
// of the scheduler all requests: they end as failed, with what was committed, and the scheduler
// begins anew. Nothing is thrown at a lane, and no request is left without an end.
//
// Life of a request: submit -> next_event ... until RequestEnded was taken ("consumed": its place
// is free) -> forget (its trace goes). An image crosses with the notice that tells of it and is
// then the reader's. The number of requests that were not forgotten is limited.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <variant>
#include <vector>

#include "core/message.h"
#include "engine/images.h"
#include "engine/lane.h"
#include "engine/readers.h"
#include "engine/text_broker.h"
#include "engine/timer.h"
#include "sched/scheduler.h"

namespace irt {

struct DriverConfig {
  SchedulerConfig scheduler;
  // Of the image store. From half of it on pictures wait for room: then only the request goes on
  // whose reader waits for it, or up to three quarters the oldest. The former may go beyond the
  // limit, by what it needs for itself.
  std::size_t image_bytes = std::size_t{1} << 30;
  std::size_t text_cache = 4096;              // encodings
  TimePoint text_lease = TextBroker::kLease;  // of the tokenizer worker
  std::size_t max_unforgotten = 1024;         // consumed requests that keep their trace
};

struct DriverCounters {
  Counters scheduler;
  TextBroker::Counters text;
  std::uint64_t stray_reports = 0;  // of lanes, about calls that had ended
  std::uint64_t begun_anew = 0;     // for want of memory
  int live = 0;                     // requests that were accepted and not consumed
  std::size_t records = 0;          // requests that were not forgotten
  std::size_t running = 0;          // calls
  std::size_t images = 0;
  std::size_t image_bytes = 0;
};

// A lane and how it fares.
struct LaneState {
  LaneInfo info;
  bool up = true;
  int times_down = 0;
  std::string why_down;  // the last time
};

// Thread-safe. Lanes hold references to it and are destroyed by close().
class Driver final : public LaneEvents {
 public:
  explicit Driver(const DriverConfig& config);
  ~Driver() override;  // close()
  Driver(const Driver&) = delete;
  Driver& operator=(const Driver&) = delete;

  // ---- lanes: `LaneInfo::id` comes from next_lane_id()
  [[nodiscard]] LaneId next_lane_id();
  void add_lane(std::shared_ptr<Lane> lane);
  [[nodiscard]] TextBroker& text() noexcept { return text_; }

  // ---- images of requests: equal pixels have equal keys; each put needs its own release
  Key put_image(PixelBuffer pixels);
  void release_image(const Key& image);

  // ---- requests
  // Throws Error(kOverloaded) when too much is under way, kBadRequest, kLimitExceeded.
  [[nodiscard]] RequestId submit(RequestSpec spec);
  // Waits for the next notice; none after `timeout`. Throws Error(kBadRequest) for a request that
  // is unknown or was read to its end.
  [[nodiscard]] std::optional<ReaderEvent> next_event(RequestId request,
                                                      std::chrono::milliseconds timeout);
  // For one thread that serves many readers: next_news() tells of a watched request whenever there
  // is something new to read, and soon after watch(). Empty after `timeout` or while closing.
  void watch(RequestId request);
  [[nodiscard]] std::vector<RequestId> next_news(std::chrono::milliseconds timeout);
  // No effect on a request that has ended or is unknown: cancelling races with the end.
  void cancel(RequestId request);
  // Gives up the trace and what was not read; a request that still runs is cancelled first.
  void forget(RequestId request);
  [[nodiscard]] Trace trace(RequestId request) const;

  // While draining, submissions are refused; what was accepted goes on.
  void set_draining(bool draining);
  [[nodiscard]] int live() const;
  [[nodiscard]] DriverCounters counters() const;
  [[nodiscard]] std::vector<LaneState> lanes() const;  // by id
  [[nodiscard]] TimePoint now() const noexcept { return clock_.now(); }
  [[nodiscard]] const Clock& clock() const noexcept { return clock_; }
  // Ends every request (kCancelled; what was said before can still be read), then joins all
  // threads. Not from a lane's thread. Later calls return once the first one has finished.
  void close();

  // ---- LaneEvents
  void step_closed(const LaneCall& call, int index, PlanStep step) override;
  void verdict_known(const LaneCall& call, bool accepted, double p_success) override;
  void done(const LaneCall& call, LaneResult result) override;
  void failed(const LaneCall& call, Failure failure) override;
  void cancelled(const LaneCall& call) override;
  void down(LaneId lane, Failure why) override;
  void up(LaneId lane) override;

 private:
  struct Run {
    LaneCallRef call;
    LaneId lane = 0;
    std::size_t span = Trace::kNone;
    std::size_t image_bytes = 0;  // of the picture that it makes
  };
  // What a lane is told, with no lock held.
  struct Order {
    enum class What { kStart, kPromote, kCancel, kPrefetch, kRevive };
    What what = What::kStart;
    LaneId lane = 0;
    LaneCallRef call;  // of the first three
    Prefetch prefetch;
    ImageRef image;  // of a prefetch
  };
  using Runs = std::unordered_map<Key, Run>;

  struct KnownLane {
    std::shared_ptr<Lane> lane;
    LaneState state;
    bool reviving = false;  // it has said that it can go on
  };

  // Acts under the lock, then tells the lanes and readers what follows from it.
  template <class Act>
  void change(Act act);
  // The same for what a lane or the timer reports, which must not suffer from it.
  template <class Act>
  void hear(Act act) noexcept;
  void lose() noexcept;  // the books are no longer to be trusted
  void begin_anew();
  [[nodiscard]] ImageRoom room() const;
  // Tells the scheduler where it does not know; true: it did not.
  bool tell_room();
  void apply(Event event);  // everything from here on but empty_outbox and execute: under the lock
  void carry_out(Command&& command);
  void begin(StartCall&& start);
  void order(Order::What what, LaneId lane, const Key& call);
  void deliver(Deliver&& deliver);
  void note_decisions();
  void empty_outbox();
  void execute(Lane& lane, const Order& order);
  void revived(LaneId lane);

  [[nodiscard]] Trace* trace_of(const LaneCall& call);  // null where nobody will ask for it
  [[nodiscard]] Runs::iterator find_run(const LaneCall& call);
  void report(const LaneCall& call, Event event);
  void end_run(Runs::iterator run, SpanOutcome outcome);
  void end_call(const LaneCall& call, SpanOutcome outcome, Event event,
                std::shared_ptr<StoredImage> image = nullptr);
  void consume(RequestId request, Record& record);
  void admit(const RequestSpec& spec) const;

  const DriverConfig config_;
  Clock clock_;
  ImageStore images_;
  Readers readers_{images_};
  TextBroker text_;

  mutable std::mutex mutex_;
  std::unique_ptr<Scheduler> scheduler_;
  std::map<LaneId, KnownLane> lanes_;
  Runs runs_;
  std::deque<Event> events_;       // to be applied, oldest first
  std::vector<Command> commands_;  // of one event
  std::vector<Order> outbox_;
  std::condition_variable outbox_empty_;
  std::optional<Failure> refused_;  // by the last Submit
  ImageRoom told_room_;
  std::size_t making_ = 0;      // bytes of the pictures that the runs make
  std::size_t last_image_ = 0;  // bytes of the one that was asked for or made last
  std::uint64_t stray_reports_ = 0;
  std::uint64_t begun_anew_ = 0;
  RequestId last_request_ = 0;
  LaneId last_lane_ = 0;
  bool emptying_ = false;
  bool applying_ = false;
  bool lost_ = false;
  bool draining_ = false;
  bool closing_ = false;
  bool closed_ = false;
  std::mutex close_mutex_;

  Timer timer_;  // last: its thread uses everything above
};

}  // namespace irt
