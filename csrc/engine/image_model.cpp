#include "engine/image_model.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/error.h"

namespace irt {

namespace {

Key key_of(const EncodedText& text) {
  KeyBuilder builder("irt.prompt.1");
  for (const std::int64_t id : text.ids) builder.add(static_cast<std::uint64_t>(id));
  for (const std::int64_t bit : text.mask) builder.add(static_cast<std::uint64_t>(bit));
  return builder.finish();
}

}  // namespace

ImageModel::ImageModel(const ImageModelConfig& config, KeepImage keep)
    : slots_(std::max(config.slots, 1)),
      denoiser_(config.generator, config.session),
      keep_(std::move(keep)),
      texts_(config.text_cache),
      latents_(config.latent_cache) {}

ImageModel::TextRef ImageModel::embed(const EncodedText& text, bool cached) {
  const Key key = key_of(text);
  if (const TextRef* hit = cached ? texts_.get(key) : nullptr) return *hit;
  auto made = std::make_shared<const TextEmbedding>(denoiser_.encode_text(text.ids, text.mask));
  if (cached) texts_.put(key, made);
  return made;
}

ImageModel::LatentsRef ImageModel::encode(const ImageRef& source, bool cached) {
  if (!source) return nullptr;
  if (stopping_) throw Error(ErrorCode::kCancelled, "[ImageModel] terminated");
  if (const LatentsRef* hit = cached ? latents_.get(source->key) : nullptr) return *hit;
  auto made = std::make_shared<const Latents>(denoiser_.encode_image(source->pixels.view()));
  if (cached) latents_.put(source->key, made);
  return made;
}

void ImageModel::prepare(const EncodedText& text) { static_cast<void>(embed(text, true)); }
void ImageModel::prepare(const ImageRef& source) { static_cast<void>(encode(source, true)); }

void ImageModel::admit(const LaneCallRef& made) {
  const Call& call = made->call;
  const TextRef text = embed(*made->text, call.optimizations.encode_text_ahead);
  const LatentsRef source = encode(made->images.front(), call.optimizations.cache_vision);
  running_.push_back(
      std::make_unique<Running>(Running{made, denoiser_.begin(text, source, call.seed, call.width,
                                                              call.height, call.denoising_steps)}));
}

void ImageModel::step(LaneEvents& events) {
  const auto lead = std::ranges::find_if(
      running_, [](const auto& running) { return !running->call->speculative; });
  const DenoiseJob& shape = lead == running_.end() ? running_.front()->job : (*lead)->job;
  std::vector<DenoiseJob*> jobs;
  for (const auto& running : running_) {
    if (Denoiser::same_shape(running->job, shape)) jobs.push_back(&running->job);
  }
  denoiser_.step(jobs);
  for (std::size_t i = 0; i < running_.size();) {
    if (!running_[i]->job.finished()) {
      ++i;
      continue;
    }
    const std::unique_ptr<Running> finished = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    finish(*finished, events);
  }
}

void ImageModel::finish(const Running& running, LaneEvents& events) {
  const Key key = running.call->call.key;
  if (running.call->cancelled) return events.cancelled(key);
  Image image;
  try {
    image = keep_(key, denoiser_.decode(running.job));
  } catch (const Error& error) {
    return events.failed(key, {error.code(), error.what()});
  } catch (const std::exception& error) {
    return events.failed(key, {ErrorCode::kBackendFailed, error.what()});
  }
  events.done(key, image);
}

bool ImageModel::cancel(const Key& call) {
  std::erase_if(running_, [&call](const auto& known) { return known->call->call.key == call; });
  return true;
}

void ImageModel::terminate() noexcept {
  stopping_ = true;
  denoiser_.terminate();
}

}  // namespace irt
