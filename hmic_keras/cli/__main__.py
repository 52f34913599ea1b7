"""`python -m hmic_keras.cli`."""

from . import main

if __name__ == "__main__":
    main()
