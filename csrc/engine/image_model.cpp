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

ImageModel::ImageModel(const ImageModelConfig& config)
    : slots_(std::max(config.slots, 1)),
      negative_{config.negative_ids, config.negative_mask},
      guidance_(config.guidance),
      generator_(make_generator(config.generator, config.session)),
      texts_(config.text_cache),
      references_(config.latent_cache) {}

ConditioningRef ImageModel::embed(const EncodedText& text, const std::vector<ImageRef>& images,
                                  bool cached) {
  std::vector<ImageView> sources;
  if (generator_->text_reads_images()) {
    for (const ImageRef& image : images) sources.push_back(image->pixels.view());
    cached = false;
  }
  return texts_.get_or(key_of(text), cached,
                       [&] { return generator_->encode_text(text.ids, text.mask, sources); });
}

ReferenceRef ImageModel::encode(const ImageRef& source, bool cached) {
  if (stopping_) throw Error(ErrorCode::kCancelled, "[ImageModel] terminated");
  return references_.get_or(source->key, cached,
                            [&] { return generator_->encode_image(source->pixels.view()); });
}

void ImageModel::prepare(const EncodedText& text) {
  if (!generator_->text_reads_images()) static_cast<void>(embed(text, {}, true));
}

void ImageModel::prepare(const ImageRef& source) { static_cast<void>(encode(source, true)); }

void ImageModel::admit(const LaneCallRef& made) {
  const Call& call = made->call;
  std::vector<ImageRef> images = made->images;
  std::erase(images, nullptr);
  if (images.empty()) {
    if (auto blank = generator_->blank(call.width, call.height)) {
      auto stored = std::make_shared<StoredImage>();
      stored->key = key_of_pixels(*blank);
      stored->pixels = *std::move(blank);
      images.push_back(std::move(stored));
    }
  }
  ImageTask task;
  task.text = embed(*made->text, images, call.optimizations.encode_text_ahead);
  if (!negative_.ids.empty()) {
    task.negative = embed(negative_, images, true);
    task.guidance = guidance_;
  }
  for (const ImageRef& image : images) {
    task.references.push_back(encode(image, call.optimizations.cache_vision));
  }
  task.seed = call.seed;
  task.width = call.width;
  task.height = call.height;
  task.steps = call.denoising_steps;
  running_.push_back(std::make_unique<Running>(Running{made, generator_->begin(task)}));
}

void ImageModel::step(LaneEvents& events) {
  const auto lead = std::ranges::find_if(
      running_, [](const auto& running) { return !running->call->speculative; });
  const GeneratorJob& shape = lead == running_.end() ? *running_.front()->job : *(*lead)->job;
  jobs_.clear();
  calls_.clear();
  for (const auto& running : running_) {
    if (!generator_->same_shape(*running->job, shape)) continue;
    jobs_.push_back(running->job.get());
    calls_.push_back(running->call.get());
  }
  events.stepping(calls_);
  generator_->step(jobs_);
  for (std::size_t i = 0; i < running_.size();) {
    if (!running_[i]->job->finished()) {
      ++i;
      continue;
    }
    const std::unique_ptr<Running> finished = std::move(running_[i]);
    running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    finish(*finished, events);
  }
}

void ImageModel::finish(const Running& running, LaneEvents& events) {
  const LaneCall* const mine = running.call.get();
  events.stepping({&mine, 1});
  if (running.call->cancelled) return events.cancelled(*running.call);
  PixelBuffer pixels;
  try {
    pixels = generator_->decode(*running.job);
  } catch (...) {
    if (running.call->cancelled) return events.cancelled(*running.call);
    return events.failed(*running.call, current_failure());
  }
  events.done(*running.call, std::move(pixels));
}

bool ImageModel::cancel(const LaneCall& call) {
  std::erase_if(running_, [&call](const auto& known) { return known->call.get() == &call; });
  return true;
}

void ImageModel::terminate() noexcept {
  stopping_ = true;
  interrupt();
}

void ImageModel::interrupt() noexcept { generator_->terminate(); }

}  // namespace irt
