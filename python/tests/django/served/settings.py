"""The settings of a process that serves: the test names its database and its store."""

import json
import os

import settings

# The databases are in the folder of the test's own process.
settings.FOLDER.rmdir()

SECRET_KEY = settings.SECRET_KEY
ALLOWED_HOSTS = ["*"]
USE_TZ = True
ROOT_URLCONF = os.environ["URLS"]
INSTALLED_APPS = settings.INSTALLED_APPS
DATABASES = json.loads(os.environ["DATABASES"])
CHUNKFLOW = {"STORE": os.environ["STORE"]}
