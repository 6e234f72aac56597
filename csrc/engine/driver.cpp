#include "engine/driver.h"

#include <algorithm>
#include <exception>
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

// Also when the scheduler throws (a LaneUp that makes no sense).
class Flag {
 public:
  explicit Flag(bool& flag) : flag_(flag) { flag_ = true; }
  ~Flag() { flag_ = false; }
  Flag(const Flag&) = delete;
  Flag& operator=(const Flag&) = delete;

 private:
  bool& flag_;
};

template <class Visit>
void for_images_of(const Call& call, Visit visit) {
  for (const Key& image : call.images) visit(image);
  if (call.source) visit(call.source);
  if (call.image) visit(call.image);
}

Failure lane_threw(const char* where, const std::exception& error) {
  return {ErrorCode::kBackendFailed,
          std::string("[Driver] a lane threw in ") + where + ": " + error.what()};
}

}  // namespace

// ---- events in ------------------------------------------------------------------------------

void Driver::post(Event event) {
  {
    const std::lock_guard lock(mutex_);
    apply(std::move(event));
  }
  empty_outbox();
}

void Driver::apply(Event event) {
  events_.push_back(std::move(event));
  if (applying_) return;
  const Flag applying(applying_);
  TimePoint next = kNever;
  while (!events_.empty()) {
    Event first = std::move(events_.front());
    events_.pop_front();
    commands_.clear();
    next = scheduler_.apply(std::move(first), clock_.now(), commands_);
    note_decisions();
    for (Command& command : commands_) carry_out(std::move(command));
  }
  timer_.set(next);
}

void Driver::step_closed(const Key& call, int index, PlanStep step) {
  post(StepClosed{call, index, std::move(step)});
}

void Driver::verdict_known(const Key& call, bool accepted, double p_success) {
  post(VerdictKnown{call, accepted, p_success});
}

void Driver::done(const Key& call, CallResult result) {
  {
    const std::lock_guard lock(mutex_);
    const auto run = find_run(call);
    const auto* image = std::get_if<Image>(&result);
    if (run == runs_.end()) {
      if (image) owners_.release_unowned(image->key);
    } else if (image) {
      finish_image(run, *image);
    } else {
      end_run(run, SpanOutcome::kDone);
      apply(CallDone{call, std::move(result)});
    }
  }
  empty_outbox();
}

void Driver::failed(const Key& call, Failure failure) {
  end_call(call, SpanOutcome::kFailed, CallFailed{call, std::move(failure)});
}

void Driver::cancelled(const Key& call) {
  end_call(call, SpanOutcome::kCancelled, CallCancelled{call});
}

void Driver::end_call(const Key& call, SpanOutcome outcome, Event event) {
  {
    const std::lock_guard lock(mutex_);
    const auto run = find_run(call);
    if (run != runs_.end()) {
      end_run(run, outcome);
      apply(std::move(event));
    }
    owners_.release_unowned(call);  // stored before it was cancelled
  }
  empty_outbox();
}

void Driver::down(LaneId lane, Failure why) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    for (auto run = runs_.begin(); run != runs_.end();) {
      const auto next = std::next(run);
      if (run->second.lane == lane) end_run(run, SpanOutcome::kFailed);
      run = next;
    }
    apply(LaneDown{lane, std::move(why)});
  }
  empty_outbox();
}

// ---- books of running calls -----------------------------------------------------------------

Driver::Runs::iterator Driver::find_run(const Key& call) {
  const auto run = runs_.find(call);
  // A call on its way through PNG has been reported by its lane already.
  const bool stray = run == runs_.end() || run->second.made;
  if (stray && !closing_) ++stray_reports_;
  return stray ? runs_.end() : run;
}

void Driver::begin(StartCall&& start) {
  Run run;
  run.lane = start.lane;
  run.serial = ++last_serial_;
  const auto record = records_.find(start.call.request);
  const auto lane = lanes_.find(start.lane);
  if (record != records_.end() && lane != lanes_.end()) {
    run.span = record->second->trace.open(start.call, lane->second->info(), start.speculative,
                                          clock_.now());
  }
  for_images_of(start.call, [this](const Key& image) { owners_.hold(image); });
  run.call = start.call;
  runs_.insert_or_assign(start.call.key, std::move(run));
  outbox_.emplace_back(std::move(start));
}

void Driver::note_cancel(const Run& run) {
  const auto record = records_.find(run.call.request);
  if (record != records_.end()) record->second->trace.cancel(run.span, clock_.now());
}

void Driver::end_run(Runs::iterator run, SpanOutcome outcome) {
  const Run ended = std::move(run->second);
  runs_.erase(run);
  for_images_of(ended.call, [this](const Key& image) { owners_.drop(image); });
  if (ended.made) owners_.drop(ended.made->key);
  const auto record = records_.find(ended.call.request);
  if (record != records_.end()) {
    record->second->trace.end(ended.span, outcome, clock_.now());
  }
}

void Driver::finish_image(Runs::iterator run, const Image& image) {
  const Key call = run->first;
  if (image.key != call || !images_.get(call)) {
    end_run(run, SpanOutcome::kFailed);
    apply(CallFailed{call, Failure{ErrorCode::kBackendFailed,
                                   "[Driver.done] the lane reported an image that it had not "
                                   "stored under the call's key"}});
    return;
  }
  if (!run->second.call.devices.raw_images) {
    owners_.hold(call);
    run->second.made = image;
    outbox_.emplace_back(PngTrip{call, run->second.serial});
    return;
  }
  owners_.hold(call);  // the trajectory's, until ReleaseImage
  end_run(run, SpanOutcome::kDone);
  apply(CallDone{call, image});
}

void Driver::png_done(const PngTrip& trip, const PixelBuffer& pixels,
                      std::optional<Failure> failure) {
  const bool whole =
      pixels.width > 0 && pixels.height > 0 && pixels.data.size() == pixels.view().bytes();
  const std::uint64_t hash = whole ? hash_pixels(pixels.view()) : 0;
  {
    const std::lock_guard lock(mutex_);
    const auto run = runs_.find(trip.call);
    if (run == runs_.end() || run->second.serial != trip.serial || !run->second.made) return;
    const Image image = *run->second.made;
    if (!failure && (!whole || hash != image.hash)) {
      failure = Failure{ErrorCode::kBackendFailed,
                        "[Driver] an image came back changed from its PNG round trip"};
    }
    if (!failure) owners_.hold(image.key);  // the trajectory's
    end_run(run, failure ? SpanOutcome::kFailed : SpanOutcome::kDone);
    if (failure) {
      apply(CallFailed{trip.call, std::move(*failure)});
    } else {
      apply(CallDone{trip.call, image});
    }
  }
  empty_outbox();
}

// ---- commands out ---------------------------------------------------------------------------

void Driver::carry_out(Command&& command) {
  std::visit(Overloaded{
                 [this](StartCall& start) { begin(std::move(start)); },
                 [this](PromoteCall& promote) { outbox_.emplace_back(promote); },
                 [this](CancelCall& cancel) {
                   const auto run = runs_.find(cancel.call);
                   if (run != runs_.end()) note_cancel(run->second);
                   if (run != runs_.end() && run->second.made) {
                     // No lane has it any more: the driver itself gives the terminal answer.
                     end_run(run, SpanOutcome::kCancelled);
                     apply(CallCancelled{cancel.call});
                   } else {
                     outbox_.emplace_back(cancel);
                   }
                 },
                 [this](SendHint& hint) { outbox_.emplace_back(std::move(hint)); },
                 [this](ReleaseImage& release) { owners_.drop(release.image); },
                 [this](Deliver& notice) { deliver(std::move(notice)); },
                 [this](Refuse& refuse) { refused_ = std::move(refuse.failure); },
             },
             command);
}

void Driver::deliver(Deliver&& deliver) {
  const auto found = records_.find(deliver.request);
  if (found == records_.end()) return;
  Record& record = *found->second;
  record.trace.note(deliver.notice);
  if (const auto* made = std::get_if<AttemptReady>(&deliver.notice)) {
    owners_.hold(made->attempt.image.key);
    record.kept.push_back(made->attempt.image.key);
  }
  record.ended = std::holds_alternative<RequestEnded>(deliver.notice);
  if (record.abandoned) {
    if (record.ended) {
      consume(deliver.request, record);
      erase(deliver.request);
    }
    return;
  }
  record.notices.push_back(std::move(deliver.notice));
  if (std::find(told_.begin(), told_.end(), found->second) == told_.end()) {
    told_.push_back(found->second);
  }
}

void Driver::note_decisions() {
  for (const DecisionNote& note : scheduler_.decisions()) {
    const auto record = records_.find(note.request);
    if (record != records_.end()) record->second->trace.decide(note.decision, clock_.now());
  }
}

Lane* Driver::lane_of(const Order& order) const {
  const auto id = std::visit(
      Overloaded{[](const PngTrip&) { return LaneId{0}; }, [](const auto& to) { return to.lane; }},
      order);
  const auto lane = lanes_.find(id);
  return closing_ || lane == lanes_.end() ? nullptr : lane->second.get();
}

void Driver::empty_outbox() {
  std::vector<Order> orders;
  std::vector<Lane*> lanes;
  std::vector<std::shared_ptr<Record>> told;
  std::unique_lock lock(mutex_);
  if (emptying_) return;  // whoever is at it takes ours as well
  emptying_ = true;
  while (!outbox_.empty() || !told_.empty()) {
    orders.clear();
    lanes.clear();
    told.clear();
    orders.swap(outbox_);
    told.swap(told_);
    for (const Order& order : orders) {
      lanes.push_back(lane_of(order));
      const auto* start = std::get_if<StartCall>(&order);
      if (!start) continue;
      const auto run = runs_.find(start->call.key);
      const auto record = records_.find(start->call.request);
      if (run == runs_.end() || record == records_.end()) continue;
      record->second->trace.start(run->second.span, clock_.now());
    }
    lock.unlock();
    for (std::size_t i = 0; i < orders.size(); ++i) execute(lanes[i], orders[i]);
    // Readers after lanes: to wake a sleeping thread costs more than all of apply().
    for (const auto& record : told) record->ready.notify_all();
    lock.lock();
  }
  emptying_ = false;
  outbox_empty_.notify_all();
}

void Driver::execute(Lane* lane, Order& order) {
  if (const auto* trip = std::get_if<PngTrip>(&order)) {
    text_.round_trip(trip->call, [this, trip = *trip](const PixelBuffer& pixels,
                                                      std::optional<Failure> failure) {
      png_done(trip, pixels, std::move(failure));
    });
    return;
  }
  if (!lane) return;
  if (const auto* hint = std::get_if<SendHint>(&order);
      hint && hint->hint.what == Hint::What::kPromptText && lane->reads_texts()) {
    TextJob job;
    job.kind = TextJob::Kind::kGenerate;
    job.text = hint->hint.text;
    text_.prefetch(std::move(job));
  }
  try {
    std::visit(Overloaded{
                   [lane](const StartCall& start) { lane->start(start.call, start.speculative); },
                   [lane](const PromoteCall& promote) { lane->promote(promote.call); },
                   [lane](const CancelCall& cancel) { lane->cancel(cancel.call); },
                   [lane](const SendHint& hint) { lane->hint(hint.hint); },
                   [](const PngTrip&) {},
               },
               order);
  } catch (const std::exception& error) {
    if (const auto* start = std::get_if<StartCall>(&order)) {
      failed(start->call.key, lane_threw("start", error));
    } else if (!std::holds_alternative<SendHint>(order)) {
      down(lane->info().id, lane_threw("promote or cancel", error));
    }
  }
}

}  // namespace irt
