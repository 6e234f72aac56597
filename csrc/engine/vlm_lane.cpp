#include "engine/vlm_lane.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/answer_reader.h"
#include "engine/lane_inbox.h"
#include "engine/vlm.h"

namespace irt {

namespace {
constexpr int kFailuresUntilDown = 2;  // failed graph runs in a row
}

struct VlmLane::Impl {
  struct Active {
    WorkRef work;
    SequenceId sequence = 0;
    std::unique_ptr<AnswerReader> reader;
  };

  LaneInfo info;
  LaneEvents& events;
  ImageStore& images;
  TextBroker& texts;
  Vlm vlm;
  LaneInbox inbox;
  std::vector<Active> active;
  std::vector<TokenOut> tokens;
  int failures = 0;
  std::jthread thread;  // last: stops and joins before the rest goes

  Impl(LaneInfo lane, const VlmConfig& config, LaneEvents& to, ImageStore& store,
       TextBroker& broker)
      : info(std::move(lane)), events(to), images(store), texts(broker), vlm(config) {}

  void loop(std::stop_token stop) {
    const std::stop_callback interrupt(stop, [this] { vlm.decoder().terminate(); });
    LaneInbox::Batch batch;
    while (inbox.take(stop, !active.empty(), static_cast<std::size_t>(vlm.decoder().free_slots()),
                      batch)) {
      for (const WorkRef& work : batch.ended) end_early(*work);
      drop_cancelled();  // before the encoders run for what is new
      for (const WorkRef& work : batch.ready) admit(work);
      if (batch.hint) follow(*batch.hint);
      drop_cancelled();
      if (!active.empty()) step(stop);
    }
    for (const WorkRef& work : inbox.drain()) events.cancelled(work->call.key);
  }

  void end_early(const LaneWork& work) {
    inbox.forget(work.call.key);
    if (work.cancelled) {
      events.cancelled(work.call.key);
    } else {
      events.failed(work.call.key, *work.failure);
    }
  }

  void admit(const WorkRef& work) {
    const Call& call = work->call;
    try {
      Prompt prompt;
      prompt.ids = work->text->ids;
      prompt.sampling = vlm.sampling(call.seed, call.retry);
      prompt.max_new_tokens = vlm.config().max_new_tokens;
      prompt.grammar = vlm.grammar(work->images.size());
      const std::int64_t limit = vlm.pixel_limit(work->images.size());
      for (const ImageRef& image : work->images) {
        prompt.images.push_back(
            vlm.features(image, white_size(*work), call.devices.cache_vision, limit));
      }
      active.push_back({work, vlm.decoder().admit(prompt), make_reader(call)});
    } catch (const Error& error) {
      inbox.forget(call.key);
      events.failed(call.key, {error.code(), error.what()});
    } catch (const std::exception& error) {
      inbox.forget(call.key);
      events.failed(call.key, {ErrorCode::kBackendFailed, error.what()});
    }
  }

  // The picture before step 1 is as large as the one after it.
  static Size white_size(const LaneWork& work) {
    const ImageRef& after = work.images.back();
    return after ? Size{after->pixels.width, after->pixels.height} : Size{};
  }

  void follow(const Hint& hint) {
    if (hint.what != Hint::What::kImageFeatures || !hint.image) return;
    const ImageRef image = images.get(hint.image);
    if (!image) return;
    try {
      (void)vlm.features(image, {}, true);
    } catch (const std::exception&) {
      // A hint is droppable; the call that needs the features will report the error.
    }
  }

  void drop_cancelled() {
    for (std::size_t i = 0; i < active.size();) {
      if (!active[i].work->cancelled) {
        ++i;
        continue;
      }
      const Key key = retire(i);
      events.cancelled(key);
    }
  }

  // Frees the slot and the entry at `i`; the caller reports.
  Key retire(std::size_t i) {
    const Key key = active[i].work->call.key;
    vlm.decoder().release(active[i].sequence);
    inbox.forget(key);
    active[i] = std::move(active.back());
    active.pop_back();
    return key;
  }

  void step(const std::stop_token& stop) {
    try {
      vlm.decoder().step(tokens);
      failures = 0;
    } catch (const std::exception& error) {
      if (stop.stop_requested()) return;  // `drain` ends the calls
      fail_all(error.what());
      return;
    }
    for (const TokenOut& out : tokens) take(out);
  }

  void take(const TokenOut& out) {
    const auto it = std::ranges::find(active, out.sequence, &Active::sequence);
    if (it == active.end()) return;
    const auto i = static_cast<std::size_t>(it - active.begin());
    if (out.stop == StopReason::kNonFinite) {
      const Key key = retire(i);
      events.failed(key, {ErrorCode::kBackendFailed,
                          "[" + info.name +
                              "] the logits of the answer are not finite: check the "
                              "precision of the decoder graph"});
      return;
    }
    if (out.stop == StopReason::kGrammar) {
      const std::string why(out.problem);
      const Key key = retire(i);
      events.failed(key, {ErrorCode::kBackendFailed, "[" + info.name + "] " + why});
      return;
    }
    bool done = out.stop != StopReason::kNone;
    if (out.stop != StopReason::kEndOfText) {
      const std::string_view bytes =
          vlm.config().tokens->bytes(static_cast<std::int32_t>(out.token));
      const double p = it->work->call.kind == CallKind::kJudge ? vlm.p_success(out.logits) : 0.0;
      done = it->reader->take(bytes, p, events) || done;
    }
    if (!done) return;
    CallResult result = it->reader->finish();
    const Key key = retire(i);
    events.done(key, std::move(result));
  }

  void fail_all(const std::string& why) {
    const Failure failure{ErrorCode::kBackendFailed, "[" + info.name + "] " + why};
    while (!active.empty()) {
      const Key key = retire(active.size() - 1);
      events.failed(key, failure);
    }
    if (++failures >= kFailuresUntilDown) events.down(info.id, failure);
  }
};

VlmLane::VlmLane(LaneInfo info, const VlmConfig& config, LaneEvents& events, ImageStore& images,
                 TextBroker& texts)
    : impl_(std::make_unique<Impl>(std::move(info), config, events, images, texts)) {
  impl_->thread = std::jthread([impl = impl_.get()](std::stop_token stop) { impl->loop(stop); });
}

VlmLane::~VlmLane() = default;

const LaneInfo& VlmLane::info() const noexcept { return impl_->info; }
void VlmLane::start(const Call& call, bool speculative) {
  impl_->inbox.start(call, speculative, impl_->images, impl_->texts);
}
void VlmLane::promote(const Key& call) { impl_->inbox.promote(call); }
void VlmLane::cancel(const Key& call) { impl_->inbox.cancel(call); }
void VlmLane::hint(const Hint& hint) { impl_->inbox.hint(hint); }

}  // namespace irt
