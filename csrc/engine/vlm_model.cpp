#include "engine/vlm_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/error.h"
#include "engine/trace.h"
#include "text/characters.h"

namespace irt {

namespace {

// An unreadable answer is sampled once more at this temperature, with top-k and top-p off.
constexpr float kRetryTemperature = 0.7F;
// No answer is shorter: a prompt that leaves less of the cache is refused before anything is run.
constexpr int kLeastAnswer = 64;

VlmConfig completed(VlmConfig config) {
  config.decoder_config.merge_size = config.vision_config.merge_size;
  config.vision_config.hidden = config.decoder_config.hidden;
  config.vision_config.deepstack_levels = config.decoder_config.deepstack_levels;
  if (!config.tokens) throw Error(ErrorCode::kBadPack, "[VlmModel] the role has no token table");
  return config;
}

// The picture before step 1 is white, and as large as the one after it.
Size white_size(const LaneCall& call) {
  const ImageRef& after = call.images.back();
  return after ? Size{after->pixels.width, after->pixels.height} : Size{};
}

}  // namespace

VlmModel::VlmModel(const VlmConfig& config)
    : config_(completed(config)),
      vision_(config_.vision.empty() ? nullptr
                                     : std::make_unique<VisionEncoder>(
                                           config_.vision, config_.vision_config, config_.session)),
      decoder_(config_.decoder, config_.decoder_config, config_.session),
      features_(config_.vision_cache) {
  running_.reserve(static_cast<std::size_t>(capacity()));  // no slot is lost for want of memory
}

void VlmModel::admit(const LaneCallRef& call) { admit(call, make_reader(*call)); }

void VlmModel::admit(const LaneCallRef& call, std::unique_ptr<AnswerReader> reader) {
  const std::size_t images = call->images.size();
  Prompt prompt;
  prompt.ids = call->text->ids;
  prompt.sampling = sampling(call->call.seed, call->call.retry);
  prompt.max_new_tokens = config_.max_new_tokens;
  prompt.min_new_tokens = std::max(
      1, std::min({kLeastAnswer, config_.max_new_tokens, config_.decoder_config.cache_length / 8}));
  if (constrained_) {
    prompt.grammar = images > 0 && config_.image_grammar ? config_.image_grammar : config_.grammar;
  }
  const bool many = images >= static_cast<std::size_t>(config_.many);
  for (const ImageRef& image : call->images) {
    if (call->cancelled) throw Error(ErrorCode::kCancelled, "[VlmModel] cancelled");
    prompt.images.push_back(features(image, white_size(*call),
                                     call->call.optimizations.cache_vision,
                                     many ? config_.max_pixels_many : 0));
  }
  running_.push_back({call, decoder_.admit(prompt), std::move(reader), {}});
}

// Of `image`, or of a white picture. `cached`: from the cache, and into it.
VlmModel::FeaturesRef VlmModel::features(const ImageRef& image, Size white, bool cached,
                                         std::int64_t max_pixels) {
  if (!vision_) {
    throw Error(ErrorCode::kBadRequest,
                "[VlmModel] the request holds images, but this pack's model has no vision "
                "encoder: use a pack whose role names one");
  }
  if (stopping_) throw Error(ErrorCode::kCancelled, "[VlmModel] terminated");
  KeyBuilder builder("irt.vision.1");
  if (image) {
    builder.add(image->key);
  } else {
    builder.add(static_cast<std::uint64_t>(white.width))
        .add(static_cast<std::uint64_t>(white.height));
  }
  const Key key = builder.add(static_cast<std::uint64_t>(max_pixels)).finish();
  return features_.get_or(key, cached, [&] {
    const PixelBuffer blank = image ? PixelBuffer{} : white_image(white.width, white.height);
    const ImageView pixels = image ? image->pixels.view() : blank.view();
    return std::make_shared<const VisionFeatures>(vision_->encode(pixels, max_pixels));
  });
}

SamplingParams VlmModel::sampling(std::uint64_t seed, int retry) const noexcept {
  SamplingParams params = config_.sampling;
  if (retry > 0) {
    params = {};
    params.temperature = kRetryTemperature;
  }
  params.seed = seed;
  const double threshold = config_.verdict_threshold;
  if (threshold != 0.5 && !config_.true_tokens.empty() && !config_.false_tokens.empty()) {
    const auto odds = static_cast<float>(std::log(threshold / (1.0 - threshold)));
    params.favoured = odds > 0.0F ? config_.false_tokens : config_.true_tokens;
    params.bonus = std::abs(odds);
  }
  return params;
}

void VlmModel::prepare(const ImageRef& image) { static_cast<void>(features(image, {}, true, 0)); }

void VlmModel::step(LaneEvents& events) {
  decoder_.step(tokens_);
  for (const TokenOut& out : tokens_) {
    try {
      take(out, events);
    } catch (...) {  // the reader of this answer has failed, no other
      const auto running = std::ranges::find(running_, out.sequence, &Running::sequence);
      if (running == running_.end()) throw;  // of who was told that it has ended
      fail(running, current_failure(), events);
    }
  }
}

void VlmModel::take(const TokenOut& out, LaneEvents& events) {
  const auto running = std::ranges::find(running_, out.sequence, &Running::sequence);
  if (running == running_.end()) return;
  if (out.stop == StopReason::kNonFinite || out.stop == StopReason::kGrammar) {
    std::string why = out.stop == StopReason::kGrammar
                          ? std::string(out.problem)
                          : "[VlmModel] " + config_.decoder +
                                ": the logits of the answer are not finite: check the pack's "
                                "parity report";
    running->call->stop = out.stop;
    return fail(running, {ErrorCode::kBackendFailed, std::move(why)}, events);
  }
  bool done = out.stop != StopReason::kNone;
  if (out.stop != StopReason::kEndOfText) {
    AnswerToken token{out.token, config_.tokens->bytes(out.token), 0.0};
    if (running->call->call.role == Role::kCritic) {
      token.p_success = p_success(out.logits, config_.true_tokens, config_.false_tokens);
    }
    const std::size_t room = Trace::kMaxAnswerBytes - running->answer.size();
    running->answer.append(token.bytes.substr(0, room));
    done = running->reader->take(token, events) || done;
  }
  if (!done) return;
  running->call->stop = out.stop == StopReason::kNone ? StopReason::kEarly : out.stop;
  LaneResult result = running->reader->finish(out.stop);
  const auto* plan = std::get_if<Plan>(&result);
  if (out.stop == StopReason::kCacheFull && plan != nullptr && !plan->readable()) {
    const auto prompt = static_cast<int>(running->call->text->ids.size());
    const int length = config_.decoder_config.cache_length;
    return fail(running,
                {ErrorCode::kLimitExceeded,
                 "[VlmModel] a prompt of " + std::to_string(prompt) + " tokens leaves " +
                     std::to_string(length - prompt) + " of a cache of " + std::to_string(length) +
                     " for the answer, which ended unread: shorten the request, or export the "
                     "model with a longer cache"},
                events);
  }
  LaneCallRef call = release(running);
  events.done(*call, std::move(result));
}

void VlmModel::fail(std::vector<Running>::iterator running, Failure failure, LaneEvents& events) {
  events.failed(*release(running), std::move(failure));
}

// Frees its slot; the caller reports.
LaneCallRef VlmModel::release(std::vector<Running>::iterator running) {
  LaneCallRef call = std::move(running->call);
  decoder_.release(running->sequence);
  const std::string answer = std::move(running->answer);
  running_.erase(running);
  try {
    call->answer = clean_utf8(answer, Trace::kMaxAnswerBytes);
  } catch (const std::exception&) {
    // The trace goes without it.
  }
  return call;
}

bool VlmModel::cancel(const LaneCall& call) {
  const auto running = std::ranges::find_if(
      running_, [&call](const Running& known) { return known.call.get() == &call; });
  if (running == running_.end()) return true;
  if (call.cancelled) running->call->stop = StopReason::kCancelled;
  release(running);
  return true;
}

void VlmModel::terminate() noexcept {
  stopping_ = true;
  interrupt();
}

void VlmModel::interrupt() noexcept {
  decoder_.terminate();
  if (vision_) vision_->terminate();
}

}  // namespace irt
