#include "engine/driver.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

namespace irt {
namespace {

template <class... Ts>
struct Overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
Overloaded(Ts...) -> Overloaded<Ts...>;

// Acts at the end of its block, whatever is thrown there.
template <class Act>
struct Finally {
  Act act;
  ~Finally() { act(); }
};
template <class Act>
Finally(Act) -> Finally<Act>;

std::string name_of(RequestId request) { return "request " + std::to_string(request); }

constexpr TimePoint kTryAgain = 10'000;              // when there was no memory
constexpr auto kPatience = std::chrono::seconds(2);  // of close(), likewise

Failure without_memory() {
  return {ErrorCode::kBackendFailed,
          "[Driver] out of memory: all requests under way were given up; send it again, fewer at "
          "once, or give the engine more memory"};
}

Failure engine_closed() { return {ErrorCode::kCancelled, "[Driver.close] the engine was closed"}; }

// In a `catch`.
Failure thrown_by(const Lane& lane) noexcept {
  Failure why = current_failure();
  why.code = ErrorCode::kBackendFailed;
  try {
    why.message = "[Driver] the lane " + lane.info().name + " threw: " + why.message;
  } catch (...) {
    // Without memory for its name the reason is enough.
  }
  return why;
}

}  // namespace

Driver::Driver(const DriverConfig& config)
    : config_(config),
      images_(config.image_bytes),
      text_(config.text_cache, config.text_lease),
      scheduler_(std::make_unique<Scheduler>(config.scheduler)),
      timer_(clock_, [this] { hear([this] { apply(Tick{}); }); }) {}

Driver::~Driver() { close(); }

// ---- events in ------------------------------------------------------------------------------

template <class Act>
void Driver::change(Act act) {
  {
    const std::lock_guard lock(mutex_);
    act();
  }
  empty_outbox();
}

template <class Act>
void Driver::hear(Act act) noexcept {
  try {
    change(act);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    lose();
  }
}

void Driver::lose() noexcept {
  lost_ = true;
  events_.clear();
  timer_.set(clock_.now() + kTryAgain);
}

// Ends every request, has the lanes drop their calls and takes a new scheduler. May be repeated
// where there is no memory for it either.
void Driver::begin_anew() {
  std::vector<Order> orders;
  for (const auto& [key, run] : runs_) {
    orders.push_back({Order::What::kCancel, run.lane, run.call, {}, nullptr});
  }
  for (const auto& [id, known] : lanes_) {
    if (known.reviving) orders.push_back({Order::What::kRevive, id, nullptr, {}, nullptr});
  }
  Counters counted = scheduler_->counters();
  auto fresh = std::make_unique<Scheduler>(config_.scheduler, std::move(counted));
  fresh->set_draining(draining_);
  std::vector<Command> none;
  for (const auto& [id, known] : lanes_) {
    if (known.state.up)
      static_cast<void>(fresh->apply(LaneUp{known.state.info}, clock_.now(), none));
  }
  readers_.end_all(without_memory());
  // From here on nothing needs memory.
  while (!runs_.empty()) end_run(runs_.begin(), SpanOutcome::kCancelled);
  images_.drop_all(ImageOwner::kTrajectory);
  images_.drop_all(ImageOwner::kCall);  // of a run that came into no book
  making_ = 0;
  outbox_.swap(orders);
  scheduler_.swap(fresh);
  refused_.reset();
  told_room_ = {};
  lost_ = false;
  ++begun_anew_;
}

// Pictures under way count as if they were there.
ImageRoom Driver::room() const {
  const std::size_t next = images_.bytes() + making_ + last_image_;
  if (!images_.crowded(next)) return {};
  ImageRoom little{.little = true};
  for (const auto& [request, record] : readers_.all()) {  // in the order of their admission
    if (record->reading != Reading::kOpen || !scheduler_->is_live(request)) continue;
    if (record->awaited()) {
      little.only = request;
      break;
    }
    if (!little.only && !images_.nearly_full(next)) little.only = request;
  }
  return little;
}

bool Driver::tell_room() {
  const ImageRoom now = room();
  if (now == told_room_) return false;
  events_.push_back(now);
  told_room_ = now;
  return true;
}

void Driver::apply(Event event) {
  if (lost_) begin_anew();
  events_.push_back(std::move(event));
  if (applying_) return;
  applying_ = true;
  const Finally applied{[this] { applying_ = false; }};
  TimePoint next = kNever;
  try {
    while (!events_.empty() || tell_room()) {
      Event first = std::move(events_.front());
      events_.pop_front();
      commands_.clear();
      next = scheduler_->apply(std::move(first), clock_.now(), commands_);
      note_decisions();
      for (Command& command : commands_) carry_out(std::move(command));
    }
  } catch (const Error&) {
    throw;  // a LaneUp that makes no sense: nothing has changed
  } catch (...) {
    lose();
    throw;
  }
  timer_.set(next);
}

void Driver::step_closed(const LaneCall& call, int index, PlanStep step) {
  report(call, StepClosed{call.call.key, index, std::move(step)});
}

void Driver::verdict_known(const LaneCall& call, bool accepted, double p_success) {
  report(call, VerdictKnown{call.call.key, accepted, p_success});
}

void Driver::report(const LaneCall& call, Event event) {
  hear([&] {
    if (find_run(call) != runs_.end()) apply(std::move(event));
  });
}

void Driver::done(const LaneCall& call, LaneResult result) {
  const Key& key = call.call.key;
  if (auto* plan = std::get_if<Plan>(&result)) {
    return end_call(call, SpanOutcome::kDone, CallDone{key, std::move(*plan)});
  }
  if (auto* verdict = std::get_if<Verdict>(&result)) {
    return end_call(call, SpanOutcome::kDone, CallDone{key, std::move(*verdict)});
  }
  std::shared_ptr<StoredImage> image;
  try {
    image = hashed(std::get<PixelBuffer>(std::move(result)));
  } catch (...) {
    Failure failure = current_failure();
    failure.code = ErrorCode::kBackendFailed;
    return failed(call, std::move(failure));
  }
  end_call(call, SpanOutcome::kDone, CallDone{}, std::move(image));
}

void Driver::failed(const LaneCall& call, Failure failure) {
  end_call(call, SpanOutcome::kFailed, CallFailed{call.call.key, std::move(failure)});
}

void Driver::cancelled(const LaneCall& call) {
  end_call(call, SpanOutcome::kCancelled, CallCancelled{call.call.key});
}

// `image`: what the call has made.
void Driver::end_call(const LaneCall& call, SpanOutcome outcome, Event event,
                      std::shared_ptr<StoredImage> image) {
  hear([&] {
    const auto run = find_run(call);
    if (run == runs_.end()) return;
    const Key key = call.call.key;
    try {
      if (image) {
        last_image_ = image->pixels.data.size();
        const ImageRef kept = images_.put(key, std::move(image), ImageOwner::kTrajectory);
        const bool cut = call.prompt_cut || (call.text && call.text->cut);
        event = CallDone{key, Image{key, kept->hash, cut}};
      }
    } catch (...) {
      outcome = SpanOutcome::kFailed;
      event = CallFailed{key, current_failure()};
    }
    if (Trace* trace = trace_of(call)) {  // what its lane has written, now that it has ended
      trace->write(run->second.span, std::move(run->second.call->answer), call.stop);
    }
    end_run(run, outcome);
    apply(std::move(event));
  });
}

void Driver::down(LaneId lane, Failure why) {
  hear([&] {
    if (closing_) return;
    if (const auto known = lanes_.find(lane); known != lanes_.end()) {
      known->second.state.up = false;
      ++known->second.state.times_down;
      known->second.state.why_down = why.message;
    }
    for (auto next = runs_.begin(); next != runs_.end();) {
      const auto run = next++;
      if (run->second.lane == lane) end_run(run, SpanOutcome::kFailed);
    }
    apply(LaneDown{lane, std::move(why)});
  });
}

void Driver::up(LaneId lane) {
  hear([&] {
    const auto known = lanes_.find(lane);
    if (closing_ || known == lanes_.end()) return;
    known->second.reviving = true;
    outbox_.push_back({Order::What::kRevive, lane, nullptr, {}, nullptr});
  });
}

void Driver::revived(LaneId lane) {
  hear([&] {
    const auto known = lanes_.find(lane);
    if (closing_ || known == lanes_.end()) return;
    known->second.reviving = false;
    known->second.state.up = true;
    apply(LaneUp{known->second.state.info});
  });
}

// ---- books of running calls -----------------------------------------------------------------

Trace* Driver::trace_of(const LaneCall& call) {
  const RecordRef& record = readers_.find(call.call.request);
  return record ? &record->trace : nullptr;
}

// The end for what is said of an earlier run of the same call.
Driver::Runs::iterator Driver::find_run(const LaneCall& call) {
  const auto run = runs_.find(call.call.key);
  if (run != runs_.end() && run->second.call.get() == &call) return run;
  if (!closing_) ++stray_reports_;
  return runs_.end();
}

void Driver::begin(StartCall&& start) {
  Run run{std::make_shared<LaneCall>(), start.lane};
  LaneCall& made = *run.call;
  made.call = std::move(start.call);
  made.speculative = start.speculative;
  made.images.reserve(made.call.images.size() + 2);  // none is held and then forgotten
  const auto need = [this, &made](const Key& key) {
    made.images.push_back(key ? images_.hold(key, ImageOwner::kCall) : nullptr);
    if (!key || made.images.back()) return;
    made.failure = Failure{ErrorCode::kInternal,
                           "[Driver.begin] image " + to_hex(key) + " is not in the store"};
  };
  for (const Key& image : made.call.images) need(image);
  if (made.call.role == Role::kGenerator) {
    const auto pixels = std::size_t{3} * static_cast<std::size_t>(made.call.width) *
                        static_cast<std::size_t>(made.call.height);
    if (pixels > 0) last_image_ = pixels;  // else as large as its source, like the last one
    run.image_bytes = last_image_;
    making_ += last_image_;
  }
  if (made.call.role != Role::kPlanner) need(made.call.source);
  if (made.call.role == Role::kCritic) need(made.call.image);
  const RecordRef& record = readers_.find(made.call.request);
  const auto lane = lanes_.find(start.lane);
  if (record && lane != lanes_.end()) {
    made.call.deadline = record->deadline;
    run.span =
        record->trace.open(made.call, lane->second.state.info, start.speculative, clock_.now());
  }
  outbox_.push_back({Order::What::kStart, start.lane, run.call, {}, nullptr});
  runs_.insert_or_assign(made.call.key, std::move(run));
}

void Driver::end_run(Runs::iterator run, SpanOutcome outcome) {
  const Run ended = std::move(run->second);
  runs_.erase(run);
  making_ -= ended.image_bytes;
  for (const ImageRef& image : ended.call->images) {
    if (image) images_.drop(image->key, ImageOwner::kCall);
  }
  Trace* trace = trace_of(*ended.call);
  if (trace == nullptr) return;
  trace->end(ended.span, outcome, clock_.now());
}

// ---- commands out ---------------------------------------------------------------------------

void Driver::carry_out(Command&& command) {
  std::visit(
      Overloaded{
          [this](StartCall& start) { begin(std::move(start)); },
          [this](PromoteCall& promote) {
            order(Order::What::kPromote, promote.lane, promote.call);
          },
          [this](CancelCall& cancel) { order(Order::What::kCancel, cancel.lane, cancel.call); },
          [this](SendPrefetch& send) {
            ImageRef image = images_.get(send.prefetch.image);
            outbox_.push_back({Order::What::kPrefetch, send.lane, nullptr, std::move(send.prefetch),
                               std::move(image)});
          },
          [this](ReleaseImage& release) { images_.drop(release.image, ImageOwner::kTrajectory); },
          [this](Deliver& notice) { deliver(std::move(notice)); },
          [this](Refuse& refuse) { refused_ = std::move(refuse.failure); },
      },
      command);
}

void Driver::order(Order::What what, LaneId lane, const Key& call) {
  const auto run = runs_.find(call);
  if (run == runs_.end()) return;
  Trace* trace = what == Order::What::kCancel ? trace_of(*run->second.call) : nullptr;
  if (trace) trace->cancel(run->second.span, clock_.now());
  outbox_.push_back({what, lane, run->second.call, {}, nullptr});
}

void Driver::deliver(Deliver&& deliver) {
  const RecordRef record = readers_.find(deliver.request);
  if (!record) return;
  record->trace.note(deliver.notice);
  if (!record->abandoned) {
    return readers_.tell(deliver.request, record, std::move(deliver.notice));
  }
  if (!std::holds_alternative<RequestEnded>(deliver.notice)) return;
  consume(deliver.request, *record);
  readers_.erase(deliver.request);
}

void Driver::note_decisions() {
  for (const DecisionNote& note : scheduler_->decisions()) {
    const RecordRef& record = readers_.find(note.request);
    if (record) record->trace.decide(note.decision, clock_.now());
  }
}

void Driver::empty_outbox() {
  std::vector<Order> orders;
  std::vector<Lane*> lanes;
  std::vector<RecordRef> told;
  std::unique_lock lock(mutex_);
  if (emptying_) return;  // the thread that is at it will also send ours
  emptying_ = true;
  const Finally emptied{[this] {
    emptying_ = false;
    outbox_empty_.notify_all();
  }};
  try {
    while (!outbox_.empty() || readers_.any_told()) {
      orders.clear();
      lanes.clear();
      told.clear();
      orders.swap(outbox_);
      readers_.take_told(told);
      for (const Order& order : orders) {
        const auto lane = lanes_.find(order.lane);
        lanes.push_back(closing_ || lane == lanes_.end() ? nullptr : lane->second.lane.get());
        if (order.what != Order::What::kStart) continue;
        const auto run = runs_.find(order.call->call.key);
        const bool runs = run != runs_.end() && run->second.call == order.call;
        Trace* trace = runs ? trace_of(*order.call) : nullptr;
        if (trace) trace->start(run->second.span, clock_.now());
      }
      lock.unlock();
      const Finally locked_again{[&lock] { lock.lock(); }};
      for (std::size_t i = 0; i < orders.size(); ++i) {
        if (lanes[i]) execute(*lanes[i], orders[i]);
      }
      // Readers after lanes: to wake a sleeping thread costs more than all of apply().
      readers_.wake(told);
    }
  } catch (...) {  // with the lock held: what was to be sent is not known
    lose();
  }
}

void Driver::execute(Lane& lane, const Order& order) {
  using What = Order::What;
  try {
    switch (order.what) {
      case What::kStart:
        if (order.call->failure) return failed(*order.call, *order.call->failure);
        return lane.start(order.call);
      case What::kPromote: return lane.promote(order.call);
      case What::kCancel: return lane.cancel(order.call);
      case What::kPrefetch: return lane.prefetch(order.prefetch, order.image);
      case What::kRevive: lane.revive(); return revived(order.lane);
    }
  } catch (...) {
    if (order.what == What::kPrefetch) return;  // work ahead may be dropped
    if (order.what == What::kStart) return failed(*order.call, thrown_by(lane));
    if (!out_of_memory()) return down(order.lane, thrown_by(lane));
    const std::lock_guard lock(mutex_);  // the lane is well, but was not told
    lose();
  }
}

// ---- lanes ----------------------------------------------------------------------------------

LaneId Driver::next_lane_id() {
  const std::lock_guard lock(mutex_);
  return ++last_lane_;
}

void Driver::add_lane(std::shared_ptr<Lane> lane) {
  const LaneInfo info = lane->info();
  change([&] {
    if (closing_) throw Error(ErrorCode::kClosed, "[Driver.add_lane] the engine was closed");
    if (!lanes_.emplace(info.id, KnownLane{lane, {.info = info, .why_down = {}}}).second) {
      throw Error(ErrorCode::kInternal, "[Driver.add_lane] lane id " + std::to_string(info.id) +
                                            " is taken: ids come from next_lane_id()");
    }
    try {
      apply(LaneUp{info});
    } catch (...) {
      lanes_.erase(info.id);
      throw;
    }
  });
}

// ---- images ---------------------------------------------------------------------------------

Key Driver::put_image(PixelBuffer pixels) {
  const Key key = key_of_pixels(pixels);
  std::shared_ptr<StoredImage> image = hashed(std::move(pixels));
  const std::lock_guard lock(mutex_);
  if (closing_) throw Error(ErrorCode::kClosed, "[Driver.put_image] the engine was closed");
  images_.put(key, std::move(image), ImageOwner::kClient);
  return key;
}

void Driver::release_image(const Key& image) {
  change([&] {
    if (!images_.drop(image, ImageOwner::kClient)) {
      throw Error(ErrorCode::kBadRequest, "[Driver.release_image] image " + to_hex(image) +
                                              " was not put, or was released as often as put");
    }
    if (told_room_.little) apply(Tick{});
  });
}

// ---- requests -------------------------------------------------------------------------------

void Driver::admit(const RequestSpec& spec) const {
  if (closing_) throw Error(ErrorCode::kClosed, "[Driver.submit] the engine was closed");
  if (const std::size_t used = images_.bytes(); images_.nearly_full(used)) {
    throw Error(
        ErrorCode::kOverloaded,
        "[Driver.submit] images take " + std::to_string(used) + " bytes, over three quarters of " +
            std::to_string(config_.image_bytes) +
            ", up to which requests are admitted: read the events of others to their end, or "
            "raise image_bytes");
  }
  const std::size_t ended = readers_.all().size() - readers_.unread();
  if (ended >= config_.max_unforgotten) {
    throw Error(ErrorCode::kOverloaded,
                "[Driver.submit] " + std::to_string(ended) +
                    " requests have ended and were not read to their end: read them, or raise "
                    "max_unforgotten");
  }
  for (const Key& image : spec.images) {
    if (images_.get(image)) continue;
    throw Error(ErrorCode::kBadRequest, "[Driver.submit] image " + to_hex(image) +
                                            " is not in the store: put_image it first, and "
                                            "release it after the submission");
  }
}

RequestId Driver::submit(RequestSpec spec) {
  std::optional<Failure> refused;
  RequestId request = 0;
  {
    const std::lock_guard lock(mutex_);
    if (lost_ && !closing_) begin_anew();
    admit(spec);
    request = ++last_request_;
    const std::set<Key> inputs(spec.images.begin(), spec.images.end());
    readers_.add(request, spec.deadline);
    for (const Key& image : inputs) images_.hold(image, ImageOwner::kTrajectory);
    refused_.reset();
    try {
      apply(Submit{request, std::move(spec)});
    } catch (...) {
      readers_.erase(request);
      throw;
    }
    refused = std::exchange(refused_, std::nullopt);
    if (refused) {
      for (const Key& image : inputs) images_.drop(image, ImageOwner::kTrajectory);
      readers_.erase(request);
    }
  }
  empty_outbox();
  if (refused) throw Error(refused->code, refused->message);
  return request;
}

std::optional<ReaderEvent> Driver::next_event(RequestId request,
                                              std::chrono::milliseconds timeout) {
  std::optional<ReaderEvent> event;
  {
    std::unique_lock lock(mutex_);
    const RecordRef record = readers_.find(request);  // outlives a forget() meanwhile
    if (!record || record->reading == Reading::kConsumed) {
      throw Error(ErrorCode::kBadRequest, "[Driver.next_event] " + name_of(request) +
                                              (record ? " was read to its end" : " is unknown"));
    }
    ++record->readers;
    const Finally gone{[&record] { --record->readers; }};
    if (told_room_.little && record->events.empty()) {  // now there may be room for it
      apply(Tick{});
      lock.unlock();
      empty_outbox();
      lock.lock();
    }
    if (!readers_.wait(lock, *record, timeout)) return std::nullopt;
    event = readers_.take(*record);
    try {
      if (std::holds_alternative<RequestEnded>(event->notice)) {
        consume(request, *record);
      } else if (told_room_.little) {
        apply(Tick{});
      }
    } catch (...) {  // the reader gets its event all the same
      lose();
    }
  }
  empty_outbox();
  return event;
}

void Driver::watch(RequestId request) {
  change([&] {
    const RecordRef& record = readers_.find(request);
    if (!record) return;
    readers_.watch(request, *record);
    if (told_room_.little) apply(Tick{});
  });
}

std::vector<RequestId> Driver::next_news(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return readers_.next_news(lock, timeout);
}

void Driver::consume(RequestId request, Record& record) {
  record.reading = Reading::kConsumed;
  record.ready.notify_all();  // others who read the same request
  apply(Consumed{request});
}

void Driver::cancel(RequestId request) {
  change([&] {
    const RecordRef& record = readers_.find(request);
    if (record && record->reading == Reading::kOpen) apply(CancelRequest{request});
  });
}

void Driver::forget(RequestId request) {
  change([&] {
    const RecordRef record = readers_.find(request);
    if (!record) return;
    record->abandoned = true;
    readers_.drop_unread(*record);
    record->ready.notify_all();
    if (record->reading == Reading::kOpen) {
      apply(CancelRequest{request});  // deliver() erases it at its end
    } else {
      if (record->reading == Reading::kEnded) consume(request, *record);
      readers_.erase(request);
    }
  });
}

Trace Driver::trace(RequestId request) const {
  const std::lock_guard lock(mutex_);
  if (const RecordRef& record = readers_.find(request)) return record->trace;
  throw Error(ErrorCode::kBadRequest,
              "[Driver.trace] " + name_of(request) + " is unknown or was forgotten");
}

// ---- the engine as a whole ------------------------------------------------------------------

void Driver::set_draining(bool draining) {
  const std::lock_guard lock(mutex_);
  draining_ = draining;
  scheduler_->set_draining(draining);
}

int Driver::live() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(readers_.unread());
}

std::vector<LaneState> Driver::lanes() const {
  std::vector<LaneState> found;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, known] : lanes_) found.push_back(known.state);
  return found;
}

DriverCounters Driver::counters() const {
  DriverCounters out;
  out.text = text_.counters();
  const std::lock_guard lock(mutex_);
  out.scheduler = scheduler_->counters();
  out.stray_reports = stray_reports_;
  out.begun_anew = begun_anew_;
  out.live = static_cast<int>(readers_.unread());
  out.records = readers_.all().size();
  out.running = runs_.size();
  out.images = images_.size();
  out.image_bytes = images_.bytes();
  return out;
}

void Driver::close() {
  const std::lock_guard once(close_mutex_);
  std::map<LaneId, KnownLane> lanes;
  {
    std::unique_lock lock(mutex_);
    if (closed_) return;
    closing_ = true;
    try {
      if (lost_) begin_anew();  // not from within the loop over the records
      for (auto next = readers_.all().begin(); next != readers_.all().end();) {
        const auto [request, record] = *next++;  // one that was abandoned is erased at its end
        if (record->reading == Reading::kOpen) apply(CancelRequest{request});
      }
      // Whatever a lane says from here on is about calls that have ended.
      while (!runs_.empty()) end_run(runs_.begin(), SpanOutcome::kCancelled);
      for (const auto& [id, known] : lanes_) {
        if (known.state.up) apply(LaneDown{id, engine_closed()});
      }
    } catch (...) {  // without memory: the timer begins anew, which ends all requests
      lose();
      outbox_empty_.wait_for(lock, kPatience, [this] { return !lost_; });
    }
    outbox_empty_.wait(lock, [this] { return !emptying_; });
    outbox_.clear();
    readers_.close();
    lanes.swap(lanes_);
  }
  timer_.stop();
  text_.close();
  for (const auto& [id, known] : lanes) known.lane->close();
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

}  // namespace irt
