"""A convolutional autoencoder of handwritten digits: encoder, decoder, and both as one model."""

import keras
from keras import layers
from sklearn.datasets import load_digits
from start import arguments, begin, report

CODE = 8


def build():
    image = keras.Input(shape=(8, 8, 1))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    encoder = keras.Model(image, layers.Dense(CODE)(layers.Flatten()(x)), name="encoder")

    code = keras.Input(shape=(CODE,))
    x = layers.Dense(2 * 2 * 16, activation="relu")(code)
    x = layers.Reshape((2, 2, 16))(x)
    x = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.UpSampling2D(2)(x)
    x = layers.Conv2D(1, 3, padding="same", activation="sigmoid")(x)
    decoder = keras.Model(code, x, name="decoder")

    return keras.Model(image, decoder(encoder(image)), name="autoencoder"), encoder


args = arguments(__doc__)
keras.utils.set_random_seed(4)
images = load_digits().images[:480, ..., None].astype("float32") / 16
model, encoder = build()
begin(model, args.weights)
model.compile(optimizer="adam", loss="binary_crossentropy")
history = model.fit(
    images, images, epochs=3, batch_size=48, shuffle=False, validation_split=0.1, verbose=0
)
report(history=history, code=encoder.predict(images[:2], verbose=0))
