// A second generator family, as somebody adds one: text that is read together with the source
// images, any number of references. Its "graphs" are arithmetic.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/key.h"
#include "models/generator.h"

namespace irt::testing {

class ToyGenerator final : public Generator {
 public:
  explicit ToyGenerator(const GeneratorConfig& config) : config_(config) {
    (void)config_.part("everything");
  }

  bool text_reads_images() const noexcept override { return true; }
  ConditioningRef encode_text(std::span<const std::int64_t> ids, std::span<const std::int64_t> mask,
                              std::span<const ImageView> sources) override {
    auto text = std::make_shared<Text>();
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (mask[i] != 0) text->value = mix64(text->value ^ static_cast<std::uint64_t>(ids[i]));
    }
    for (const ImageView& image : sources) text->value = mix64(text->value ^ hash_pixels(image));
    return text;
  }
  ReferenceRef encode_image(const ImageView& image) override {
    auto picture = std::make_shared<Picture>();
    picture->value = hash_pixels(image);
    picture->width = image.width;
    picture->height = image.height;
    return picture;
  }
  std::unique_ptr<GeneratorJob> begin(const ImageTask& task) override {
    const auto* text = dynamic_cast<const Text*>(task.text.get());
    if (text == nullptr) throw Error(ErrorCode::kBadRequest, "[toy] no text");
    auto job = std::make_unique<Job>();
    job->value = mix64(task.seed ^ text->value);
    job->width = task.width > 0 ? task.width : config_.default_width;
    job->height = task.height > 0 ? task.height : config_.default_height;
    for (const ReferenceRef& given : task.references) {
      const auto& picture = dynamic_cast<const Picture&>(*given);
      if (&given == &task.references.front() && task.width == 0) {
        job->width = picture.width;
        job->height = picture.height;
      }
      job->value = mix64(job->value ^ picture.value);
    }
    job->steps = task.steps > 0 ? task.steps : config_.default_steps;
    return job;
  }
  bool same_shape(const GeneratorJob& a, const GeneratorJob& b) const override {
    return dynamic_cast<const Job&>(a).width == dynamic_cast<const Job&>(b).width;
  }
  void step(std::span<GeneratorJob* const> jobs) override {
    for (GeneratorJob* job : jobs) {
      auto& toy = dynamic_cast<Job&>(*job);
      toy.value = mix64(toy.value);
      ++toy.next_step;
    }
  }
  PixelBuffer decode(const GeneratorJob& given) override {
    const auto& job = dynamic_cast<const Job&>(given);
    PixelBuffer image = white_image(job.width, job.height);
    for (std::size_t i = 0; i < image.data.size(); ++i) {
      image.data[i] = static_cast<std::uint8_t>(mix64(job.value + i));
    }
    return image;
  }
  void terminate() noexcept override {}

 private:
  struct Text final : Conditioning {
    std::uint64_t value = 0;
  };
  struct Picture final : Reference {
    std::uint64_t value = 0;
    int width = 0;
    int height = 0;
  };
  struct Job final : GeneratorJob {
    std::uint64_t value = 0;
    int width = 0;
    int height = 0;
  };

  GeneratorConfig config_;
};

inline GeneratorConfig toy_generator() {
  add_generator_family("toy", [](const GeneratorConfig& config, const SessionOptions&) {
    return std::make_unique<ToyGenerator>(config);
  });
  GeneratorConfig config;
  config.family = "toy";
  config.parts = {{"everything", "none"}};
  config.default_width = 12;
  config.default_height = 8;
  config.default_steps = 3;
  return config;
}

}  // namespace irt::testing
